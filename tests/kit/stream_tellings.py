"""One run as it happens, and the ways in which connections may tell it: what the contract allows, drawn at random."""

from dataclasses import dataclass
from itertools import pairwise

from hypothesis import strategies as st

from heddle.common.v1.content_pb2 import ContentPart
from heddle.runtime.v1.event_pb2 import ThreadEvent
from heddle.runtime.v1.run_events_pb2 import (
    AssistantMessageCompleted,
    RunCancelled,
    RunCompleted,
    RunStarted,
    StepStarted,
    TurnRequested,
)
from heddle.runtime.v1.stream_pb2 import Delta, DeltaBatch, DeltaChannel, EventBatch, StreamFrame

RUN = "run_1"


@dataclass(frozen=True)
class Telling:
    """What one reader gets, over all its connections, and what is true."""

    frames: tuple[StreamFrame, ...]
    written: dict[str, str]
    """By message id, all that the model wrote, whether it counted in the end or not."""
    final: dict[str, str]
    """By message id, the text of the fact."""
    discards: dict[str, int]
    """By message id, the sequence of the fact that discards it."""


@dataclass(frozen=True)
class _Word:
    message_id: str
    start: int
    end: int


def event(sequence: int, **payload: object) -> ThreadEvent:
    return ThreadEvent(thread_id="t_1", run_id=RUN, sequence=sequence, **payload)  # type: ignore[arg-type]


def delta(message_id: str, text: str, start: int, end: int, *, reset: bool = False) -> Delta:
    """The characters `start` to `end` of a message's text."""
    return Delta(
        run_id=RUN,
        message_id=message_id,
        channel=DeltaChannel.DELTA_CHANNEL_TEXT,
        offset=len(text[:start].encode()),
        text=text[start:end],
        reset=reset,
    )


@st.composite
def tellings(draw: st.DrawFn) -> Telling:
    texts = draw(st.lists(st.text(max_size=12), min_size=1, max_size=3))
    written = {f"m{number}": text for number, text in enumerate(texts, 1)}
    last = f"m{len(texts)}"
    story: list[ThreadEvent | _Word] = [
        event(1, turn_requested=TurnRequested(message_id="u1")),
        event(2, run_started=RunStarted(attempt=1)),
    ]
    discards: dict[str, int] = {}
    sequence = 2
    for number, (message_id, text) in enumerate(written.items(), 1):
        sequence += 1
        before = f"m{number - 1}" if number > 1 else ""
        if before:
            discards[before] = sequence
        step = StepStarted(step_id="s1", attempt=number, message_id=message_id, discards_message_id=before)
        story.append(event(sequence, step_started=step))
        story += [_Word(message_id, start, end) for start, end in draw(cuts(text))]
    said = written[last]
    cancelled = draw(st.booleans())
    if cancelled:
        said = said[: draw(st.integers(0, len(said)))]
    told = AssistantMessageCompleted(message_id=last, content=[ContentPart(text=said)], incomplete=cancelled)
    story.append(event(sequence + 1, assistant_message_completed=told))
    if cancelled:
        story.append(event(sequence + 2, run_cancelled=RunCancelled()))
    else:
        story.append(event(sequence + 2, run_completed=RunCompleted()))
    frames = draw(_connections(story, written))
    return Telling(tuple(frames), written, {last: said}, discards)


@st.composite
def cuts(draw: st.DrawFn, text: str) -> list[tuple[int, int]]:
    """A text cut anywhere between its characters."""
    inner = draw(st.sets(st.integers(1, max(1, len(text) - 1)), max_size=5)) if len(text) > 1 else set()
    bounds = [0, *sorted(inner), len(text)]
    return [(start, end) for start, end in pairwise(bounds) if end > start]


@st.composite
def _connections(draw: st.DrawFn, story: list[ThreadEvent | _Word], written: dict[str, str]) -> list[StreamFrame]:
    """Connections that each begin somewhere, replay from a cursor that was seen, and break anywhere."""
    frames: list[StreamFrame] = []
    seen, reached = 0, 0
    for is_last in [False] * draw(st.integers(0, 3)) + [True]:
        now = draw(st.integers(reached, len(story)))
        cursor = draw(st.integers(0, seen))
        facts = [item for item in story[:now] if isinstance(item, ThreadEvent)]
        frames += [_facts(each) for each in facts if each.sequence > cursor]
        seen = max([seen, *(each.sequence for each in facts)])
        frames += draw(_words_so_far(story[:now], written))
        reached = len(story) if is_last else draw(st.integers(now, len(story)))
        for item in story[now:reached]:
            if isinstance(item, ThreadEvent):
                frames.append(_facts(item))
                seen = max(seen, item.sequence)
            else:
                word = delta(item.message_id, written[item.message_id], item.start, item.end)
                frames += [_words(word)] * draw(st.integers(1, 2))
    return frames


@st.composite
def _words_so_far(draw: st.DrawFn, past: list[ThreadEvent | _Word], written: dict[str, str]) -> list[StreamFrame]:
    """The text of the message that is being written: in any order and cut, or in order behind a reset."""
    last_fact = max((place for place, item in enumerate(past) if isinstance(item, ThreadEvent)), default=-1)
    words = [item for item in past[last_fact + 1 :] if isinstance(item, _Word)]
    if not words:
        return []
    message_id, end = words[-1].message_id, words[-1].end
    text = written[message_id]
    pieces = [delta(message_id, text, start, stop) for start, stop in draw(cuts(text[:end]))]
    if draw(st.booleans()):
        pieces[0].reset = True
    else:
        pieces = list(draw(st.permutations(pieces)))
    return [_words(*pieces)] if draw(st.booleans()) else [_words(piece) for piece in pieces]


def _facts(fact: ThreadEvent) -> StreamFrame:
    return StreamFrame(events=EventBatch(events=[fact]))


def _words(*deltas: Delta) -> StreamFrame:
    return StreamFrame(deltas=DeltaBatch(deltas=deltas))
