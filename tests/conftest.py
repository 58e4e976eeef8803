"""The order of the tests: what takes long begins first, so that no worker is left alone with it at the end."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put slow tests before all others, each group in its own order."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)
