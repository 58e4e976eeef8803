"""Whether the stream is the one that was published to: the bus may have been wiped, or an old copy put back."""

from enum import Enum

from heddle_bus import subjects
from heddle_bus.port import Bus, StreamIdentity
from heddle_runtime.relay.ports import StreamNote


class StreamVerdict(Enum):
    """What the stream is to the relay."""

    FIRST = "first"
    """Nothing was ever published, to any."""
    SAME = "same"
    REPLACED = "replaced"
    """It lacks messages that were acknowledged."""


async def judge(bus: Bus, note: StreamNote | None) -> tuple[StreamVerdict, StreamIdentity]:
    """Compare the stream with what is noted of it (SEMANTICS 31). Raises as `Bus.identity`."""
    stream = await bus.identity()
    if note is None:
        return StreamVerdict.FIRST, stream
    if note.created != stream.created or note.sequence > stream.last_sequence:
        return StreamVerdict.REPLACED, stream
    if not note.sequence:
        return StreamVerdict.SAME, stream
    stored = await bus.read(note.sequence)
    # None: dropped by the stream's limits, or purged with its thread. An old copy that has grown past our place since
    # shows by another message there.
    if stored is not None and stored.headers.get(subjects.MESSAGE_ID, "") != note.message_id:
        return StreamVerdict.REPLACED, stream
    return StreamVerdict.SAME, stream
