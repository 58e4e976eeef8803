"""What comes back from NATS: who receives it, and how the answers of JetStream are read.

Apart from the link, and without nats-py, which takes long to load: the bus is there before its connection is.
"""

import json
from typing import TYPE_CHECKING, Any, Protocol, cast

from heddle_core.errors import ServiceUnreachable
from heddle_core.values import value

if TYPE_CHECKING:
    from nats.aio.msg import Msg

_NO_RESPONDERS = "503"


class Listener(Protocol):
    """Who receives the messages of one pattern. None of these may wait or raise."""

    def arrive(self, message: "Msg") -> None:
        """A message came."""
        ...

    def dropped(self) -> None:
        """The client had to drop messages."""
        ...

    def lost(self) -> None:
        """The link ended; nothing more comes."""
        ...


@value
class ApiAnswer:
    """What JetStream answered to a request about streams and consumers."""

    body: dict[str, Any]
    error_code: int
    """JetStream's own error number; 0 for success."""
    problem: str

    def checked(self) -> dict[str, Any]:
        """The body of a success; raises ServiceUnreachable."""
        if self.error_code:
            raise ServiceUnreachable("JetStream", self.problem)
        return self.body


class NobodyListens(Exception):
    """A request found no responder: nothing was done with it. Never leaves this package."""


def api_answer(data: bytes) -> ApiAnswer:
    """Decode an answer of JetStream; raises ServiceUnreachable if it is none."""
    try:
        body = cast(dict[str, Any], json.loads(data))
    except ValueError:
        raise ServiceUnreachable("JetStream", "its answer is not JSON") from None
    error = cast(dict[str, Any], body.get("error") or {})
    if not error:
        return ApiAnswer(body, 0, "")
    number = int(error.get("err_code") or error.get("code") or -1)
    return ApiAnswer(body, number, str(error.get("description", "unknown error")))


def is_unheard(message: "Msg") -> bool:
    """Whether the server says that nobody listens where a request went."""
    return bool(message.headers) and message.headers.get("Status") == _NO_RESPONDERS
