"""What a servicer asks of a request first: who sends it, how long it may wait, and what makes it the same again."""

import asyncio
from datetime import timedelta
from typing import Any

from google.protobuf.message import Message

from heddle_core.errors import invalid
from heddle_core.requests import Creator, RequestKey
from heddle_grpc import calls
from heddle_grpc.fingerprints import fingerprint

_TO_ANSWER = 0.5
"""Seconds of a call's deadline that are kept for reading once more, and for the way back."""


def creator() -> Creator:
    """Who makes the call that is being served. Raises LookupError outside of a call."""
    identity = calls.current().identity
    return Creator(identity.tenant, identity.principal, identity.acted_by)


def request_key(method: str, request: Message) -> RequestKey:
    """What makes `request`, sent to the RPC `method` by its short name, the same request as another."""
    given: Any = request
    who = creator()
    return RequestKey(who.tenant, who.principal, method, given.request_id, fingerprint(request))


def patience(wait_seconds: int) -> timedelta:
    """How long a call may be held that asks for `wait_seconds`: a little less than its deadline leaves.

    Raises:
        InvalidField: it asks for less than nothing, or for more than 60 s.
    """
    if not 0 <= wait_seconds <= 60:
        raise invalid("wait_seconds", "0 to 60")
    deadline = calls.current().deadline
    if deadline is None:
        return timedelta(seconds=wait_seconds)
    left = deadline - asyncio.get_running_loop().time() - _TO_ANSWER
    return timedelta(seconds=max(0.0, min(float(wait_seconds), left)))
