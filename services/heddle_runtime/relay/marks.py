"""Up to where threads are published, until that is written down.

Marks are written in batches, some time after the acknowledgements: they only spare work after a crash. What was
published and not marked is published again, and dropped by the bus, which knows its id, or by the consumer.
"""

from heddle_bus.port import Acknowledgement
from heddle_core.clock import Micros
from heddle_runtime.relay.ports import Mark, StreamNote
from heddle_runtime.relay.shards import Shards
from heddle_runtime.threads.log import ThreadKey


class Marks:
    """Acknowledged and not written yet."""

    def __init__(self) -> None:
        self._positions: dict[ThreadKey, int] = {}
        self._stream: StreamNote | None = None

    def note(self, key: ThreadKey, sequence: int) -> None:
        """A thread is published up to a sequence."""
        self._positions[key] = max(sequence, self._positions.get(key, 0))

    def note_stream(self, created: Micros, last: Acknowledgement, message_id: str) -> None:
        """The stream has this message; the one furthest behind counts."""
        if self._stream is None or self._stream.created != created or last.stream_sequence > self._stream.sequence:
            self._stream = StreamNote(created, last.stream_sequence, message_id)

    def position(self, key: ThreadKey) -> int:
        """Up to where the thread is published, if that is not written yet; zero otherwise."""
        return self._positions.get(key, 0)

    def __len__(self) -> int:
        return len(self._positions)

    def take(self, shards: Shards) -> tuple[list[Mark], StreamNote | None]:
        """What is to be written, in the order of the threads' keys; nothing for threads of others."""
        marks: list[Mark] = []
        for key, sequence in sorted(self._positions.items()):
            held = shards.fence_of(key)
            if held is not None:
                marks.append(Mark(key, sequence, *held))
        taken = self._stream
        self._positions, self._stream = {}, None
        return marks, taken

    def put_back(self, marks: list[Mark], stream: StreamNote | None) -> None:
        """They could not be written: keep them for the next time."""
        for mark in marks:
            self.note(mark.key, mark.sequence)
        if self._stream is None:
            self._stream = stream

    def forget(self) -> None:
        """The stream is another: what was acknowledged means nothing any more."""
        self._positions, self._stream = {}, None
