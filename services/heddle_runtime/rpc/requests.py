"""What every servicer asks of a request first: who sends it, and what makes it the same request again."""

from typing import Any

from google.protobuf.message import Message

from heddle_core.failpoints import failpoint
from heddle_core.ids import RequestId
from heddle_grpc import calls
from heddle_grpc.fingerprints import fingerprint
from heddle_runtime.facade.commands import Caller, RequestKey
from heddle_runtime.runs.content import Actor

START_TURN = "StartTurn"

_SAME_METHOD = {"StartStreamingTurn": START_TURN}
"""Methods that start the same thing, and so share their keys."""


def caller(_context: object = None) -> Caller:
    """Who makes the call that is being served. Raises LookupError outside of a call.

    Handlers pass their context to say which call they mean; the identity itself stands in the call's own variable.
    """
    identity = calls.current().identity
    return Caller(identity.tenant, Actor(identity.principal, identity.acted_by))


def request_key(method: str, request: Message) -> RequestKey:
    """What makes `request`, sent to the RPC `method` by its short name, the same request as another."""
    named: Any = request
    failpoint("request_decoded")
    return RequestKey(_SAME_METHOD.get(method, method), RequestId(named.request_id), fingerprint(request))
