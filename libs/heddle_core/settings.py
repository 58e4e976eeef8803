"""Reads a service's settings, and says of those that do not fit which variable it is: whoever starts a process sees an
error with a remedy, never a traceback, and never a value, since that may be a secret in the wrong place.
"""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsError

from heddle_core.errors import CannotServe

S = TypeVar("S", bound=BaseSettings)


def read_settings(kind: type[S], **given: Any) -> S:
    """The settings: what is `given`, then the environment, then the defaults.

    Raises CannotServe with all that does not fit: fields by the names of their variables, given ones by their own.
    """
    try:
        return kind(**given)
    except ValidationError as error:
        problems = list(_misfits(kind, error, given))
    except SettingsError as error:
        problems = [f"{name}: is no JSON, as its kind of value must be" for name in _unread(kind)] or [str(error)]
    raise CannotServe("the settings", "; ".join(problems), "mend these, or leave them out for their defaults")


def _misfits(kind: type[BaseSettings], error: ValidationError, given: Mapping[str, Any]) -> Iterator[str]:
    prefix = kind.model_config.get("env_prefix", "")
    between = kind.model_config.get("env_nested_delimiter") or "__"
    for each in error.errors(include_url=False, include_context=False, include_input=False):
        steps = [str(step) for step in each["loc"]]
        name = ".".join(steps) if steps and steps[0] in given else f"{prefix}{between.join(steps)}".upper()
        yield f"{name}: {each['msg'][:1].lower()}{each['msg'][1:]}"


def _unread(kind: type[BaseSettings]) -> Iterator[str]:
    """The variables that are no JSON and must be. Of them pydantic tells no more than the field in which they are."""
    source = EnvSettingsSource(kind)
    prefix = kind.model_config.get("env_prefix", "").lower()
    for name, text in dict(source.env_vars).items():
        if name.startswith(prefix):
            source.env_vars = {name: text}
            try:
                source()
            except SettingsError:
                yield name.upper()
