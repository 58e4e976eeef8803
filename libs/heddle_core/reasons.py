"""Every error class by its reason: those of all modules of errors, so that none is unknown that was not imported."""

from types import ModuleType

from heddle_core import companion_errors, errors, runtime_errors
from heddle_core.faults import HeddleError


def by_reason(reason: str) -> type[HeddleError] | None:
    """The class for a reason of the contract, or None for one that this version does not know."""
    return _BY_REASON.get(reason)


def all_reasons() -> dict[str, type[HeddleError]]:
    """Every reason with its class."""
    return dict(_BY_REASON)


def _told_in(module: ModuleType) -> dict[str, type[HeddleError]]:
    """Those with a status of their own, in their order: the others are what these are made of, or no server's."""
    family = (each for each in vars(module).values() if isinstance(each, type) and issubclass(each, HeddleError))
    return {each.reason: each for each in family if "status" in vars(each) and each.__module__ == module.__name__}


_BY_REASON = {**_told_in(errors), **_told_in(runtime_errors), **_told_in(companion_errors)}
