"""Which version of Heddle this is. Read from the installed package, so that there is one truth."""

import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


def version_of_heddle() -> str:
    """The version of the installed package; of the source tree when it is not installed."""
    try:
        return version("heddle")
    except PackageNotFoundError:
        project = Path(__file__).parents[2] / "pyproject.toml"
        return tomllib.loads(project.read_text())["project"]["version"] if project.is_file() else "unknown"
