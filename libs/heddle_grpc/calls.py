"""What a handler may know of the call it serves, in one context variable, and the log line about it."""

import re
from contextvars import ContextVar, Token
from typing import Any, TypeAlias

import grpc

from heddle_core.log_lines import LogLines
from heddle_core.values import value
from heddle_grpc.identity import ANONYMOUS, Identity

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
"""What gRPC gives a handler. In quotes, because the class is generic in its stubs only."""

REQUEST_ID_KEY = "x-request-id"
TRACEPARENT_KEY = "traceparent"

_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{1,128}")
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

_log = LogLines(__name__)


@value
class Call:
    """One call, as a handler sees it."""

    method: str
    """Full path, as `/heddle.runtime.v1.AgentRuntime/StartTurn`."""
    identity: Identity = ANONYMOUS
    request_id: str = ""
    """Of the call, for logs: the caller's `x-request-id`, or one minted here. Not a request's `request_id`."""
    traceparent: str = ""
    """W3C trace context as it came; empty without one."""
    deadline: float | None = None
    """By the event loop's clock; None for a stream that has none."""
    request_id_was_sent: bool = False


_current: ContextVar[Call] = ContextVar("heddle_call")


def current() -> Call:
    """The call being served. Raises LookupError outside of one."""
    return _current.get()


def current_or_none() -> Call | None:
    """The call being served; None outside of one."""
    return _current.get(None)


def enter(call: Call) -> Token[Call]:
    """Make `call` the current one of this task."""
    return _current.set(call)


def leave(token: Token[Call]) -> None:
    """Undo `enter`."""
    _current.reset(token)


def accepted_request_id(text: object) -> str:
    """`text` when it may stand in logs and headers; empty otherwise."""
    return text if isinstance(text, str) and _REQUEST_ID.fullmatch(text) else ""


def accepted_traceparent(text: object) -> str:
    """`text` when it is a W3C traceparent; empty otherwise."""
    return text if isinstance(text, str) and _TRACEPARENT.fullmatch(text) else ""


def log_end(call: Call, *, code: str, reason: str, seconds: float) -> None:
    """One line about a call that has ended."""
    _log.info(
        "call",
        method=call.method,
        code=code,
        reason=reason,
        seconds=round(seconds, 6),
        tenant=call.identity.tenant,
        principal=call.identity.principal,
        acted_by=call.identity.acted_by,
        request_id=call.request_id,
        traceparent=call.traceparent,
    )
