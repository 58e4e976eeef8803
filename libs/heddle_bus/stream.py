"""The durable event stream in JetStream: its settings, how it is made sure of, and its identity."""

import base64
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol, cast

from heddle_bus import subjects
from heddle_bus.port import StoredMessage, StreamIdentity, StreamPosition
from heddle_core.clock import MICROS_PER_SECOND, Micros, micros
from heddle_core.errors import ServiceUnreachable
from heddle_core.values import value

if TYPE_CHECKING:
    from heddle_bus.link import Link

_NANOS_PER_MICRO = 1_000

_STREAM_NOT_FOUND = 10059
_NAME_IN_USE = 10058
_MESSAGE_NOT_FOUND = 10037


@value
class StreamSettings:
    """What the stream keeps. It is a fan-out buffer, not an archive: the log in SQL has everything."""

    replicas: int = 1
    """Copies in the cluster: 3 survive the loss of one server."""
    age_limit: timedelta = timedelta(days=3)
    bytes_limit: int = 4 * 1024**3
    """The oldest are dropped beyond these."""
    duplicate_window: timedelta = timedelta(minutes=2)
    """How long the server remembers message ids; it costs it about 150 bytes an event."""


class Kept(Protocol):
    """What a stream keeps, and for how long."""

    @property
    def replicas(self) -> int: ...

    @property
    def age_limit(self) -> timedelta: ...

    @property
    def bytes_limit(self) -> int: ...

    @property
    def duplicate_window(self) -> timedelta: ...


def configuration(name: str, of: Sequence[str], kept: Kept) -> dict[str, object]:
    """A stream in the words of JetStream's interface: on disk, the oldest dropped beyond its limits."""
    return {
        "name": name,
        "subjects": list(of),
        "retention": "limits",
        "storage": "file",
        "discard": "old",
        "max_age": nanoseconds(kept.age_limit),
        "max_bytes": kept.bytes_limit,
        "max_msgs": -1,
        "num_replicas": kept.replicas,
        "duplicate_window": nanoseconds(kept.duplicate_window),
    }


async def ensure_stream(link: "Link", settings: StreamSettings, deadline: timedelta) -> None:
    """Make the event stream, or change its limits to these. Never deletes. Raises as `Link.api` does."""
    wanted = configuration(subjects.EVENT_STREAM, subjects.EVENT_STREAM_SUBJECTS, settings)
    await ensure_configured(link, wanted, deadline)


async def ensure_configured(link: "Link", wanted: Mapping[str, object], deadline: timedelta) -> dict[str, Any]:
    """Make the stream of that `name`, or give it these settings; what the server says of it. Never deletes.

    Raises as `Link.api` does.
    """
    name = wanted["name"]
    found = await link.api(f"STREAM.INFO.{name}", {}, deadline)
    if found.error_code == _STREAM_NOT_FOUND:
        made = await link.api(f"STREAM.CREATE.{name}", wanted, deadline)
        if made.error_code != _NAME_IN_USE:
            return made.checked()
        found = await link.api(f"STREAM.INFO.{name}", {}, deadline)
    current = cast(dict[str, Any], found.checked()["config"])
    if any(current.get(key) != value for key, value in wanted.items()):
        changed = {**current, **wanted}
        (await link.api(f"STREAM.UPDATE.{name}", changed, deadline)).checked()
    return found.body


async def stream_identity(link: "Link", deadline: timedelta) -> StreamIdentity:
    """Which stream the server has. Raises as `Link.api` does, and ServiceUnreachable if it has none."""
    found = await find_stream(link, deadline)
    if found is None:
        raise ServiceUnreachable("the event stream", "the server has none")
    return found


async def find_stream(link: "Link", deadline: timedelta) -> StreamIdentity | None:
    """Which stream the server has; None: somebody removed it. Raises as `Link.api` does."""
    answer = await link.api(f"STREAM.INFO.{subjects.EVENT_STREAM}", {}, deadline)
    if answer.error_code == _STREAM_NOT_FOUND:
        return None
    info = answer.checked()
    state = cast(dict[str, Any], info["state"])
    return StreamIdentity(created_in(info), int(state["first_seq"]), int(state["last_seq"]))


async def read_message(link: "Link", position: StreamPosition, deadline: timedelta) -> StoredMessage | None:
    """The message stored at the position's sequence. Raises as `Link.api` does."""
    method = f"STREAM.MSG.GET.{subjects.EVENT_STREAM}"
    answer = await link.api(method, {"seq": position.sequence}, deadline)
    if answer.error_code == _MESSAGE_NOT_FOUND:
        return None
    found = cast(dict[str, Any], answer.checked()["message"])
    payload = base64.b64decode(str(found.get("data", "")))
    headers = _headers(base64.b64decode(str(found.get("hdrs", ""))))
    return StoredMessage(str(found["subject"]), payload, headers, position)


async def purge_subject(link: "Link", pattern: str, before: int, deadline: timedelta) -> int:
    """Remove what is stored under the pattern, in front of a place if that is not zero. Raises as `Link.api` does."""
    wanted: dict[str, object] = {"filter": pattern, **({"seq": before} if before else {})}
    return int((await link.api(f"STREAM.PURGE.{subjects.EVENT_STREAM}", wanted, deadline)).checked()["purged"])


def created_in(info: Mapping[str, Any]) -> Micros:
    """When the stream was made that the server tells of."""
    return _micros(str(info["created"]))


def nanoseconds(span: timedelta) -> int:
    """The unit of every span of time in JetStream's interface."""
    return micros(span) * _NANOS_PER_MICRO


def _micros(stamp: str) -> Micros:
    moment = datetime.fromisoformat(stamp)
    return Micros(int(moment.replace(microsecond=0).timestamp()) * MICROS_PER_SECOND + moment.microsecond)


def _headers(block: bytes) -> dict[str, str]:
    lines = block.decode("utf-8", "replace").split("\r\n")[1:]
    pairs = (line.partition(":") for line in lines if line)
    return {name.strip(): value.strip() for name, _, value in pairs}
