"""What every servicer asks of a request first: who sends it, how long it may wait, and what makes it the same again."""

import asyncio
from datetime import timedelta
from typing import Any

from google.protobuf.message import Message

from heddle_core.errors import invalid
from heddle_grpc import calls
from heddle_spawn.codec import fingerprint
from heddle_spawn.facade.ports import RequestKey
from heddle_spawn.rules.spawns import Creator

_TO_ANSWER = 0.5
"""Seconds of a call's deadline that are kept for reading once more, and for the way back."""

_WITHOUT_MEANING = ("request_id", "wait_seconds", "validate_only")
"""Fields that do not change what a request asks for (SEMANTICS 3)."""


def creator() -> Creator:
    """Who makes the call that is being served. Raises LookupError outside of a call."""
    identity = calls.current().identity
    return Creator(identity.tenant, identity.principal, identity.acted_by)


def request_key(method: str, request: Message) -> RequestKey:
    """What makes a request the same as another."""
    who, named = creator(), request_without(request, _WITHOUT_MEANING)
    given: Any = request
    return RequestKey(who.tenant, who.principal, method, given.request_id, fingerprint(named))


def request_without(request: Message, fields: tuple[str, ...]) -> Message:
    """A copy of a request in which these fields are not set."""
    copy = type(request)()
    copy.CopyFrom(request)
    for name in fields:
        if name in copy.DESCRIPTOR.fields_by_name:
            copy.ClearField(name)
    return copy


def patience(wait_seconds: int) -> timedelta:
    """How long a call may be held that asks for `wait_seconds`. Raises InvalidField beyond 0 to 60."""
    if not 0 <= wait_seconds <= 60:
        raise invalid("wait_seconds", "0 to 60")
    deadline = calls.current().deadline
    if deadline is None:
        return timedelta(seconds=wait_seconds)
    left = deadline - asyncio.get_running_loop().time() - _TO_ANSWER
    return timedelta(seconds=max(0.0, min(float(wait_seconds), left)))
