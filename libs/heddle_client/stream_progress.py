"""How far one reader of a stream is: which facts it has, and which words. Sifts what several connections tell.

No connection and no clock here: `resume` asks this what is new, and what is missing.
"""

from collections.abc import Iterable, Iterator

from heddle.runtime.v1.event_pb2 import ThreadEvent
from heddle.runtime.v1.stream_pb2 import Delta, DeltaChannel
from heddle_client.words import Words
from heddle_core.values import value

_MOST_ENDED = 4_096
"""Messages that are remembered as ended, so that late words of them are dropped; the oldest is forgotten."""

_TERMINAL = frozenset({"run_completed", "run_failed", "run_cancelled"})

_Channel = tuple[str, DeltaChannel.ValueType, str]


@value
class Hole:
    """Facts that should have come: those after `after` and before `before`, both exclusive."""

    after: int
    before: int


class StreamProgress:
    """What one reader has seen of a thread, or of one run of it."""

    def __init__(self, *, sequence: int, contiguous: bool) -> None:
        """`sequence`: the last fact that the reader has. `contiguous`: whether it reads the whole thread."""
        self.sequence = sequence
        self.ended = False
        """Whether the terminal event of the run was seen; never for a whole thread."""
        self._contiguous = contiguous
        self._begun = sequence > 0 or contiguous
        self._writing: dict[_Channel, Words] = {}
        self._run_of: dict[str, str] = {}
        self._ended_messages: dict[str, None] = {}

    def hole_before(self, sequence: int) -> Hole | None:
        """What may be missing before the fact `sequence`.

        In one run's stream a jump is usual where other runs' facts lie between; it is still worth a look.
        """
        jumps = self._begun and sequence > self.sequence + 1
        return Hole(self.sequence, sequence) if jumps else None

    def hole_up_to(self, sequence: int) -> Hole | None:
        """What is missing when the server says that it has sent all up to `sequence`."""
        return self.hole_before(sequence + 1) if self._contiguous else None

    def take(self, event: ThreadEvent) -> bool:
        """Move on past one fact; False when it was seen before."""
        if event.sequence <= self.sequence:
            return False
        self.sequence = event.sequence
        self._begun = True
        self._forget_words(event)
        return True

    def new_words(self, deltas: Iterable[Delta]) -> Iterator[Delta]:
        """What the deltas add to what the reader has; each begins exactly where the one before ended."""
        for delta in deltas:
            if delta.message_id in self._ended_messages:
                continue
            key = (delta.message_id, _channel(delta), delta.call_id)
            known = self._writing.get(key, Words())
            joined = known.joined(delta.offset, delta.text, reset=delta.reset)
            self._writing[key] = joined
            self._run_of[delta.message_id] = delta.run_id
            told = _addition(delta, known.shown, joined.shown)
            if told is not None:
                yield told

    def _forget_words(self, event: ThreadEvent) -> None:
        kind = event.WhichOneof("payload")
        if kind == "assistant_message_completed":
            self._end_message(event.assistant_message_completed.message_id)
        elif kind == "step_started" and event.step_started.discards_message_id:
            self._end_message(event.step_started.discards_message_id)
        elif kind in _TERMINAL:
            self.ended = not self._contiguous
            for message_id in [key for key, run_id in self._run_of.items() if run_id == event.run_id]:
                self._end_message(message_id)

    def _end_message(self, message_id: str) -> None:
        self._run_of.pop(message_id, None)
        self._ended_messages[message_id] = None
        if len(self._ended_messages) > _MOST_ENDED:
            del self._ended_messages[next(iter(self._ended_messages))]
        for key in [key for key in self._writing if key[0] == message_id]:
            del self._writing[key]


def _channel(delta: Delta) -> DeltaChannel.ValueType:
    unsaid = delta.channel == DeltaChannel.DELTA_CHANNEL_UNSPECIFIED
    return DeltaChannel.DELTA_CHANNEL_TEXT if unsaid else delta.channel


def _addition(delta: Delta, known: bytes, joined: bytes) -> Delta | None:
    """`delta` as it must be sent to a reader that has `known` and should have `joined`."""
    if joined == known:
        return None
    told = Delta()
    told.CopyFrom(delta)
    told.reset = not joined.startswith(known)
    told.offset = 0 if told.reset else len(known)
    told.text = joined[told.offset :].decode()
    return told
