"""Settings that do not fit: each is named as whoever set it knows it, with what is wrong and without its value."""

from datetime import timedelta

import pytest
from pydantic import BaseModel, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from heddle_core.errors import CannotServe
from heddle_core.settings import read_settings


class Part(BaseModel):
    names: dict[str, SecretStr] = Field(default_factory=dict)
    steps: int = 1


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="LOOM_", env_nested_delimiter="__", extra="ignore")

    kept: timedelta = timedelta(days=7)
    part: Part = Part()
    words: tuple[str, ...] = ()
    address: str = Field(default="", pattern="^(a|b)?$")


def problem(**given: object) -> str:
    with pytest.raises(CannotServe) as refused:
        read_settings(Settings, **given)
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_what_is_given_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOM_ADDRESS", "a")
    monkeypatch.setenv("LOOM_PART__NAMES", '{"x": "y"}')
    assert read_settings(Settings).address == "a"
    assert read_settings(Settings, address="b").address == "b"
    assert read_settings(Settings).part.names["x"].get_secret_value() == "y"


def test_each_variable_that_does_not_fit_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOM_KEPT", "secret")
    monkeypatch.setenv("LOOM_PART__STEPS", "secret")
    told = problem()
    assert "LOOM_KEPT: " in told and "LOOM_PART__STEPS: " in told


def test_what_was_given_is_named_as_it_was_given() -> None:
    assert "(address: " in problem(address="secret")


@pytest.mark.parametrize("name", ["LOOM_PART__NAMES", "LOOM_PART", "LOOM_WORDS", "loom_words"])
def test_a_variable_that_is_no_json_is_named_too(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOM_PART__STEPS", "2")
    monkeypatch.setenv("LOOM_KEPT", "PT1H")
    monkeypatch.setenv(name, "{secret")
    assert f"({name.upper()}: is no JSON" in problem()
