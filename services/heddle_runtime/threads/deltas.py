"""Words while they are being written: not facts, and lost with the process, but never wrong (SEMANTICS 18, 19)."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import IntEnum
from itertools import groupby
from operator import itemgetter
from typing import Protocol

from heddle_core.ids import CallId, MessageId, RunId, StepId
from heddle_core.values import value


class Channel(IntEnum):
    """Which kind of words; the numbers are the contract's DeltaChannel."""

    TEXT = 1
    REASONING = 2
    TOOL_ARGUMENTS = 3


@value
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

    def parts(self, most: int) -> Iterator["Delta"]:
        """The same words as deltas of at most `most` characters each."""
        part = replace(self, text=self.text[:most])
        yield part
        for begin in range(most, len(self.text), most):
            part = replace(part, offset=part.end, text=self.text[begin : begin + most], reset=False)
            yield part


class Reader(Protocol):
    """Who is told that words came. It takes them from the writing when it gets to it."""

    def words_came(self, writing: "Writing") -> None:
        """There is one piece more. Told once for each `listen`. Must be quick, and may not fail."""
        ...


@dataclass(slots=True)
class Writing:
    """A message that a model is writing: what it said so far, piece by piece, on each of its channels.

    Pieces are kept once, here. Readers remember how far they have read, so that a piece costs them next to nothing.
    """

    run_id: RunId
    step_id: StepId
    attempt: int
    message_id: MessageId
    after_sequence: int = 0
    """Last fact of the thread that was committed before it began."""
    replaces: bool = False
    """Whether its first words on each channel replace what readers were shown of it before, here or elsewhere."""
    characters: int = 0
    """Of all pieces."""
    _listening: list[Reader] = field(default_factory=list[Reader])
    _pieces: list[tuple[Channel, CallId, int, str]] = field(default_factory=list[tuple[Channel, CallId, int, str]])
    _ends: dict[tuple[Channel, CallId], int] = field(default_factory=dict[tuple[Channel, CallId], int])

    def add(self, channel: Channel, text: str, call_id: CallId = CallId("")) -> None:
        """Note more words, and tell those who listen."""
        key = (channel, call_id)
        offset = self._ends.get(key, 0)
        self._ends[key] = offset + (len(text) if text.isascii() else len(text.encode()))
        self._pieces.append((channel, call_id, offset, text))
        self.characters += len(text)
        if self._listening:
            listening, self._listening = self._listening, []
            for reader in listening:
                reader.words_came(self)

    def listen(self, reader: Reader) -> None:
        """Have a reader told of the next piece, and of that one alone."""
        self._listening.append(reader)

    def ignore(self, reader: Reader) -> None:
        """Tell a reader no more."""
        if reader in self._listening:
            self._listening.remove(reader)

    def end(self, channel: Channel, call_id: CallId) -> int:
        """Up to where a channel is written, in bytes of UTF-8."""
        return self._ends.get((channel, call_id), 0)

    @property
    def pieces(self) -> int:
        """How many there are."""
        return len(self._pieces)

    def text(self, channel: Channel = Channel.TEXT) -> str:
        """What was said so far on a channel."""
        return "".join(text for each, call_id, _, text in self._pieces if each is channel and not call_id)

    def between(self, first: int, end: int) -> list[Delta]:
        """The pieces from `first` to before `end`, in order; neighbours of one channel as one."""
        deltas: list[Delta] = []
        for (channel, call_id), group in groupby(self._pieces[first:end], key=itemgetter(0, 1)):
            pieces = list(group)
            text = pieces[0][3] if len(pieces) == 1 else "".join(text for _, _, _, text in pieces)
            offset = pieces[0][2]
            reset = self.replaces and offset == 0
            deltas.append(self._delta(channel, call_id, offset, text, self.after_sequence, reset=reset))
        return deltas

    def so_far(self, after_sequence: int) -> list[Delta]:
        """All that was said, for a reader who joins in the middle."""
        said: dict[tuple[Channel, CallId], list[str]] = {}
        for channel, call_id, _, text in self._pieces:
            said.setdefault((channel, call_id), []).append(text)
        return [
            self._delta(channel, call_id, 0, "".join(texts), after_sequence, reset=True)
            for (channel, call_id), texts in said.items()
        ]

    def _delta(
        self, channel: Channel, call_id: CallId, offset: int, text: str, after_sequence: int, *, reset: bool = False
    ) -> Delta:
        return Delta(
            self.run_id,
            self.step_id,
            self.attempt,
            self.message_id,
            channel,
            offset,
            text,
            after_sequence,
            call_id,
            reset,
        )
