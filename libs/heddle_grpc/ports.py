"""Binding a port, and saying clearly why when it cannot be had."""

from collections.abc import Callable

from heddle_core.errors import CannotServe
from heddle_grpc.addresses import split


def bound(address: str, bind: Callable[[str], int]) -> int:
    """The port that `bind` got for `address`; 1 or more, also for a unix socket. Raises CannotServe."""
    if not address.startswith("unix:"):
        split(address)
    try:
        return bind(address)
    except RuntimeError as error:
        remedy = "stop what listens there (`ss -ltnp` names it), or set another address"
        problem = "it is in use, not an address of this machine, or not permitted"
        raise CannotServe(f"address {address}", problem, remedy) from error
