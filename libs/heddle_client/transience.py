"""Which refusals of the runtime pass by themselves, and how long to wait before the next try.

For services that start runs and follow them: they ask again for as long as it takes, and give up on nothing else.
"""

from datetime import timedelta

from heddle_core.errors import Overloaded
from heddle_core.faults import HeddleError, StatusCode
from heddle_core.runtime_errors import RateLimited

_PASSING = frozenset(
    (
        StatusCode.UNAVAILABLE,
        StatusCode.ABORTED,
        StatusCode.DEADLINE_EXCEEDED,
        StatusCode.CANCELLED,
        StatusCode.INTERNAL,
        # An operator mends these: the work waits for it as long as its deadline lets it.
        StatusCode.UNAUTHENTICATED,
        StatusCode.PERMISSION_DENIED,
    )
)

_FIRST = timedelta(milliseconds=250)


def is_passing(error: HeddleError) -> bool:
    """Whether the same request may succeed later, or may have succeeded already: send it again."""
    return error.status in _PASSING or isinstance(error, RateLimited | Overloaded)


def pause_after(error: HeddleError, tries: int, most: timedelta) -> timedelta:
    """How long to wait after so many failures in a row: doubling up to `most`, never less than the server asks."""
    doubled = _FIRST * 2 ** min(tries, 16)
    return max(min(doubled, most), error.retry_after or timedelta(0))
