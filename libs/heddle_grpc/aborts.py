"""The only place that ends a call with an error: what a handler raised becomes a status for its caller."""

from typing import Never

import grpc

from heddle_core.errors import DeadlinePassed, Draining, InternalFault
from heddle_core.faults import HeddleError, StatusCode
from heddle_core.ids import Ids
from heddle_core.log_lines import LogLines
from heddle_grpc.calls import REQUEST_ID_KEY, Context
from heddle_grpc.errors import grpc_code, message_of, trailers

ENDED_ALREADY = (grpc.aio.AbortError, grpc.aio.InternalError)
"""What grpc.aio raises once a call is over: the handler aborted, or a write found the client gone.

To be re-raised: grpc.aio leaks the call of one that swallows it.
"""

_PUSHBACK_KEY = "grpc-retry-pushback-ms"

_log = LogLines(__name__)


async def abort(context: Context, error: HeddleError, *, request_id: str = "") -> Never:
    """End the call with `error`. Always raises: grpc.aio's AbortError, which must not be caught."""
    trailing = trailers(error)
    if request_id:
        trailing = (*trailing, (REQUEST_ID_KEY, request_id))
    if error.status is StatusCode.UNAVAILABLE and error.retry_after is not None:
        # gRPC clients that retry by service config obey this one, and cannot read RetryInfo.
        pause = round(error.retry_after.total_seconds() * 1_000)
        trailing = (*trailing, (_PUSHBACK_KEY, str(pause)))
    await context.abort(grpc_code(error), message_of(error), trailing)


def fault_of(error: Exception, method: str, ids: Ids) -> HeddleError:
    """What a caller is told of `error`.

    Of anything outside the family it learns an incident number only; the log has the traceback under it.
    """
    if isinstance(error, HeddleError) and hasattr(error, "status"):
        return error
    incident = ids.new("incident")
    _log.error("internal fault", incident=incident, method=method, exc_info=error)
    return InternalFault(incident)


def expired(method: str, *, draining: bool) -> HeddleError:
    """What a caller is told when the server itself ended its call for time."""
    return Draining() if draining else DeadlinePassed(method)
