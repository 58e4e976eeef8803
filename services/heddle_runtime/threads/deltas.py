"""Words while they are being written: not facts, and lost with the process, but never wrong (SEMANTICS 18, 19)."""

from dataclasses import dataclass, field
from enum import IntEnum

from heddle_core.ids import CallId, MessageId, RunId, StepId


class Channel(IntEnum):
    """Which kind of words; the numbers are the contract's DeltaChannel."""

    TEXT = 1
    REASONING = 2
    TOOL_ARGUMENTS = 3


@dataclass(frozen=True, slots=True)
class Delta:
    """Words that were written since the delta before."""

    run_id: RunId
    step_id: StepId
    attempt: int
    message_id: MessageId
    channel: Channel
    offset: int
    """Where `text` begins in the message's channel, in bytes of UTF-8."""
    text: str
    after_sequence: int
    """Last fact of the thread that was committed before these words."""
    call_id: CallId = CallId("")
    reset: bool = False
    """Whether `text` replaces all that was shown of this channel of the message."""

    @property
    def end(self) -> int:
        """Where the words end, in bytes of UTF-8."""
        return self.offset + len(self.text.encode())

    def continues(self, other: "Delta") -> bool:
        """Whether these words come directly behind those of `other`, so that both can travel as one."""
        return (
            not self.reset
            and self.message_id == other.message_id
            and self.channel is other.channel
            and self.call_id == other.call_id
            and self.attempt == other.attempt
        )


@dataclass(slots=True)
class Writing:
    """A message that a model is writing: what it said so far, on each of its channels."""

    run_id: RunId
    step_id: StepId
    attempt: int
    message_id: MessageId
    _said: dict[tuple[Channel, CallId], list[str]] = field(default_factory=dict[tuple[Channel, CallId], list[str]])
    _bytes: dict[tuple[Channel, CallId], int] = field(default_factory=dict[tuple[Channel, CallId], int])

    def add(self, channel: Channel, text: str, after_sequence: int, call_id: CallId = CallId("")) -> Delta:
        """Note more words, and return them with their place."""
        key = (channel, call_id)
        offset = self._bytes.get(key, 0)
        self._said.setdefault(key, []).append(text)
        self._bytes[key] = offset + len(text.encode())
        return Delta(
            self.run_id, self.step_id, self.attempt, self.message_id, channel, offset, text, after_sequence, call_id
        )

    def text(self, channel: Channel = Channel.TEXT) -> str:
        """What was said so far on a channel."""
        return "".join(self._said.get((channel, CallId("")), ()))

    def so_far(self, after_sequence: int) -> list[Delta]:
        """All that was said, for a reader who joins in the middle."""
        return [
            Delta(
                self.run_id,
                self.step_id,
                self.attempt,
                self.message_id,
                channel,
                0,
                "".join(said),
                after_sequence,
                call_id,
                reset=True,
            )
            for (channel, call_id), said in self._said.items()
        ]
