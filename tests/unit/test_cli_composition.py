"""What the services that `heddle up` serves beside the runtime take over from its settings."""

import pytest

from heddle_cli.composition import campaign_settings_of
from heddle_runtime.settings import RuntimeSettings


def test_signals_have_as_many_copies_as_events_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    assert campaign_settings_of(RuntimeSettings()).signal_replicas == 1
    monkeypatch.setenv("HEDDLE_BUS__REPLICAS", "3")
    assert campaign_settings_of(RuntimeSettings()).signal_replicas == 3
    monkeypatch.setenv("HEDDLE_CAMPAIGN_SIGNAL_REPLICAS", "1")
    assert campaign_settings_of(RuntimeSettings()).signal_replicas == 1


def test_the_database_is_the_runtimes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEDDLE_CAMPAIGN_DATABASE", "postgresql://other/db")
    monkeypatch.setenv("HEDDLE_DATABASE", "postgresql://one/db")
    assert campaign_settings_of(RuntimeSettings()).database == "postgresql://one/db"
