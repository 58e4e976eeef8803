"""Reading the files that say who may call, with errors for whoever starts the service."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from heddle_core.errors import CannotServe, CredentialInvalid

Read = TypeVar("Read")


def read_identities(setting: str, path: Path, read: Callable[[], Read]) -> Read:
    """What `read` makes of the file at `path`, which `setting` names. Raises CannotServe, with what to mend."""
    try:
        return read()
    except OSError as error:
        raise CannotServe(setting, f"{path}: {error.strerror}", "check the path and who may read it") from error
    except CredentialInvalid as error:
        raise CannotServe(setting, f"{path}: {error.problem}", "mend that entry") from error
    except ValueError as error:
        problem = f"{path} is no list of such records: {error}"
        raise CannotServe(setting, problem, "mend it (docs/identity.md)") from error
