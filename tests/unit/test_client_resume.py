import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from heddle.runtime.v1.agent_runtime_pb2 import StartStreamingTurnRequest
from heddle.runtime.v1.event_pb2 import ThreadEvent
from heddle.runtime.v1.run_events_pb2 import AssistantMessageCompleted, RunCompleted, StepStarted
from heddle.runtime.v1.stream_pb2 import (
    Checkpoint,
    Closing,
    ClosingReason,
    DeltaBatch,
    EventBatch,
    Opened,
    StreamFrame,
)
from heddle.runtime.v1.thread_service_pb2 import ListEventsRequest, ListEventsResponse
from heddle_client.fake import FakeRuntime
from heddle_client.persistence import Persistence
from heddle_client.port import FrameStream
from heddle_client.resume import follow_thread, follow_turn
from heddle_client.transcript import Transcript
from heddle_core import errors, runtime_errors
from heddle_core.clock import ManualClock
from heddle_core.faults import HeddleError, StatusCode
from tests.kit.runtime_calls import all_events, events_in, read, start, streamed
from tests.kit.stream_tellings import delta, event

PATIENT = timedelta(hours=1)


@dataclass
class Pauses:
    """Pauses that take no time, and are noted."""

    clock: ManualClock = field(default_factory=ManualClock)
    taken: list[float] = field(default_factory=list)

    async def sleep(self, seconds: float) -> None:
        self.taken.append(seconds)
        self.clock.advance(seconds)
        await asyncio.sleep(0)

    def persistence(self, random: float = 0.0, give_up_after: timedelta = PATIENT) -> Persistence:
        return Persistence(self.clock, lambda: random, self.sleep, give_up_after=give_up_after)


class Scripted:
    """A runtime whose streams are lists of frames and errors, one list a connection; the last repeats."""

    def __init__(
        self, connections: Sequence[Sequence[StreamFrame | HeddleError]], log: Sequence[ThreadEvent] = ()
    ) -> None:
        self.connections = list(connections)
        self.log = list(log)
        self.cursors: list[Any] = []
        self.requests: list[StartStreamingTurnRequest] = []
        self.listed: list[ListEventsRequest] = []

    async def stream_turn(self, request: StartStreamingTurnRequest) -> FrameStream:
        self.requests.append(request)
        async for frame in self._tell():
            yield frame

    async def watch_thread(self, thread_id: str, *, after_sequence: int = 0, deltas: bool = True) -> FrameStream:
        self.cursors.append(after_sequence)
        async for frame in self._tell():
            yield frame

    async def list_events(self, request: ListEventsRequest) -> ListEventsResponse:
        self.listed.append(request)
        found = [each for each in self.log if each.sequence > request.after_sequence][: request.page_size]
        last = self.log[-1].sequence if self.log else 0
        return ListEventsResponse(
            events=found,
            next_after_sequence=found[-1].sequence if found else request.after_sequence,
            last_sequence=last,
        )

    async def _tell(self) -> AsyncIterator[StreamFrame]:
        for item in self.connections.pop(0) if len(self.connections) > 1 else self.connections[0]:
            if isinstance(item, HeddleError):
                raise item
            yield item


def opened(head: int = 0, run_id: str = "") -> StreamFrame:
    return StreamFrame(opened=Opened(thread_id="t_1", run_id=run_id, head_sequence=head))


def facts(*sequences: int) -> StreamFrame:
    return StreamFrame(events=EventBatch(events=[event(each) for each in sequences]))


def told(text: str, start: int, end: int, *, reset: bool = False) -> StreamFrame:
    return StreamFrame(deltas=DeltaBatch(deltas=[delta("m1", text, start, end, reset=reset)]))


def seen(frames: list[StreamFrame]) -> list[int]:
    return [each.sequence for each in events_in(frames)]


def texts(frames: list[StreamFrame]) -> list[tuple[int, str, bool]]:
    return [(each.offset, each.text, each.reset) for frame in frames for each in frame.deltas.deltas]


async def some(frames: FrameStream, count: int) -> list[StreamFrame]:
    found: list[StreamFrame] = []
    async with asyncio.timeout(10), aclosing(frames):
        async for frame in frames:
            found.append(frame)
            if len(found) == count:
                break
    return found


RESUMED: list[HeddleError] = [
    runtime_errors.StreamRotated(2),
    errors.Draining(),
    runtime_errors.SlowReader(2),
    errors.Overloaded("streams", 1),
    errors.StoreUnavailable("restarting"),
    errors.ServiceUnreachable("here", "Connection reset by peer"),
    errors.CallCancelled(),
    errors.ForeignError("Received RST_STREAM", StatusCode.INTERNAL),
    errors.ForeignError("upstream connect error", StatusCode.UNAVAILABLE),
]


@pytest.mark.parametrize("error", RESUMED, ids=lambda error: str(error)[:30])
async def test_a_thread_is_followed_over_an_end_that_passes(error: HeddleError) -> None:
    runtime = Scripted([[opened(), facts(1, 2), error], [opened(2), facts(3)]])
    frames = await some(follow_thread(runtime, "t_1", persistence=Pauses().persistence()), 3)
    assert seen(frames) == [1, 2, 3]
    assert runtime.cursors == [0, 2]


REFUSED: list[HeddleError] = [
    runtime_errors.CursorAhead(9, 2),
    runtime_errors.CursorTooOld(1, 5),
    runtime_errors.ThreadNotFound("t_1"),
    errors.ScopeMissing("WatchThread", "threads.read"),
    errors.CredentialMissing(),
    errors.InternalFault("i1"),
    errors.DeadlinePassed("WatchThread"),
]


@pytest.mark.parametrize("error", REFUSED, ids=lambda error: type(error).__name__)
async def test_an_end_for_good_is_told_as_it_is(error: HeddleError) -> None:
    runtime = Scripted([[opened(), facts(1), error]])
    with pytest.raises(type(error)) as refused:
        await read(follow_thread(runtime, "t_1", persistence=Pauses().persistence()))
    assert refused.value is error
    assert runtime.cursors == [0]


async def test_a_thread_whose_stream_just_ends_is_opened_again() -> None:
    runtime = Scripted([[opened(), facts(1)], [opened(1), facts(2)]])
    assert seen(await some(follow_thread(runtime, "t_1", persistence=Pauses().persistence()), 3)) == [1, 2]


async def test_events_that_were_seen_are_dropped() -> None:
    runtime = Scripted([[opened(), facts(1, 2), facts(2, 3), facts(1)], [opened(3), facts(3, 4)]])
    frames = await some(follow_thread(runtime, "t_1", persistence=Pauses().persistence()), 4)
    assert seen(frames) == [1, 2, 3, 4]


async def test_a_hole_is_filled_from_the_log_before_what_follows() -> None:
    runtime = Scripted([[opened(), facts(1), facts(5)]], [event(each) for each in range(1, 6)])
    frames = await some(follow_thread(runtime, "t_1", persistence=Pauses().persistence()), 3)
    assert seen(frames) == [1, 2, 3, 4, 5]
    assert [(each.after_sequence, each.page_size) for each in runtime.listed] == [(1, 3)]


async def test_a_hole_that_only_the_checkpoint_shows_is_filled_too() -> None:
    checkpoint = StreamFrame(checkpoint=Checkpoint(sequence=3, caught_up=True))
    runtime = Scripted([[opened(), facts(1), checkpoint]], [event(each) for each in range(1, 4)])
    frames = await some(follow_thread(runtime, "t_1", persistence=Pauses().persistence()), 4)
    assert seen(frames) == [1, 2, 3]
    assert frames[-1] == checkpoint


async def test_a_hole_that_the_log_cannot_fill_is_told() -> None:
    runtime = Scripted([[opened(), facts(1), facts(5)]], [event(4), event(5)])
    with pytest.raises(runtime_errors.CursorTooOld) as refused:
        await read(follow_thread(runtime, "t_1", persistence=Pauses().persistence()))
    assert (refused.value.cursor, refused.value.first) == (1, 4)


async def test_a_log_that_is_shorter_than_what_was_seen_is_told() -> None:
    runtime = Scripted([[opened(), facts(1, 2, 3), errors.Draining()], [opened(2)]])
    with pytest.raises(runtime_errors.CursorAhead) as refused:
        await read(follow_thread(runtime, "t_1", persistence=Pauses().persistence()))
    assert (refused.value.cursor, refused.value.last) == (3, 2)


async def test_a_run_may_jump_over_facts_of_other_runs() -> None:
    runtime = Scripted([[opened(9, "run_1"), facts(4), facts(8)]], [])
    frames = await read(follow_turn(runtime, streamed("hello", "t_1"), persistence=Pauses().persistence()))
    assert seen(frames) == [4, 8]
    assert [(each.after_sequence, each.run_id) for each in runtime.listed] == [(4, "run_1")]


async def test_the_same_request_is_sent_again_until_it_is_known_to_have_arrived() -> None:
    request = streamed("hello", "t_1", "r_1")
    lost = errors.ServiceUnreachable("here", "no connection")
    runtime = Scripted(
        [[lost], [opened(1, "run_1"), lost], [opened(1, "run_1"), facts(1), lost], [opened(2), facts(2)]]
    )
    frames = await read(follow_turn(runtime, request, persistence=Pauses().persistence()))
    assert seen(frames) == [1, 2]
    joined = [StartStreamingTurnRequest(request_id="r_1", after_sequence=each) for each in (0, 1)]
    assert runtime.requests == [request, request, *joined]


async def test_a_stream_is_opened_to_the_reader_once_and_closed_only_when_settled() -> None:
    rotated = StreamFrame(closing=Closing(reason=ClosingReason.CLOSING_REASON_ROTATED))
    settled = StreamFrame(closing=Closing(reason=ClosingReason.CLOSING_REASON_SETTLED))
    runtime = Scripted([[opened(), facts(1), rotated, runtime_errors.StreamRotated(1)], [opened(1), facts(2), settled]])
    frames = await read(follow_turn(runtime, streamed("hello", "t_1"), persistence=Pauses().persistence()))
    assert [frame.WhichOneof("frame") for frame in frames] == ["opened", "events", "events", "closing"]


async def test_a_connection_lost_after_the_terminal_event_is_a_good_end() -> None:
    last = StreamFrame(events=EventBatch(events=[event(1, run_completed=RunCompleted())]))
    runtime = Scripted([[opened(), last, errors.ServiceUnreachable("here", "reset")]])
    frames = await read(follow_turn(runtime, streamed("hello", "t_1"), persistence=Pauses().persistence()))
    assert seen(frames) == [1]
    assert len(runtime.requests) == 1


async def test_words_go_on_where_they_ended_when_told_from_the_start_again() -> None:
    first = [opened(), told("ab", 0, 2), errors.Draining()]
    runtime = Scripted([first, [opened(), told("abcd", 0, 1), told("abcd", 1, 4)]])
    frames = await some(follow_thread(runtime, "t_1", persistence=Pauses().persistence()), 3)
    assert texts(frames) == [(0, "ab", False), (2, "cd", False)]


async def test_a_reset_that_repeats_what_is_shown_only_adds_the_rest() -> None:
    again = told("abcd", 0, 4, reset=True)
    runtime = Scripted([[opened(), told("ab", 0, 2), errors.Draining()], [opened(), again]])
    frames = await some(follow_thread(runtime, "t_1", persistence=Pauses().persistence()), 3)
    assert texts(frames) == [(0, "ab", False), (2, "cd", False)]


async def test_a_reset_to_other_words_is_handed_on_as_a_reset() -> None:
    other = told("other", 0, 5, reset=True)
    runtime = Scripted([[opened(), told("ab", 0, 2), other]])
    frames = await some(follow_thread(runtime, "t_1", persistence=Pauses().persistence()), 3)
    assert texts(frames) == [(0, "ab", False), (0, "other", True)]


async def test_words_beyond_a_hole_are_held_until_it_is_filled() -> None:
    far, near = told("abcd", 3, 4), told("abcd", 2, 3)
    runtime = Scripted([[opened(), told("abcd", 0, 2), far, near]])
    frames = await some(follow_thread(runtime, "t_1", persistence=Pauses().persistence()), 3)
    assert texts(frames) == [(0, "ab", False), (2, "cd", False)]


async def test_words_of_a_message_that_a_fact_has_ended_are_not_handed_on() -> None:
    completed = event(1, assistant_message_completed=AssistantMessageCompleted(message_id="m1"))
    discarding = event(2, step_started=StepStarted(message_id="m3", discards_message_id="m2"))
    late = [delta(each, "late", 0, 4) for each in ("m1", "m2", "m3")]
    frames = [
        StreamFrame(events=EventBatch(events=[completed, discarding])),
        StreamFrame(deltas=DeltaBatch(deltas=late)),
    ]
    runtime = Scripted([[opened(), *frames]])
    found = await some(follow_thread(runtime, "t_1", persistence=Pauses().persistence()), 3)
    assert [each.message_id for frame in found for each in frame.deltas.deltas] == ["m3"]


async def test_pauses_double_up_to_a_bound_and_are_spread_by_chance() -> None:
    pauses = Pauses()
    runtime = Scripted([*[[errors.CallCancelled()]] * 8, [opened(), facts(1)]])
    await some(follow_thread(runtime, "t_1", persistence=pauses.persistence(random=0.5)), 2)
    assert pauses.taken == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.5, 2.5])


async def test_a_server_that_names_a_pause_is_given_at_least_that() -> None:
    pauses = Pauses()
    runtime = Scripted([[errors.Draining()], [opened(), facts(1)]])
    await some(follow_thread(runtime, "t_1", persistence=pauses.persistence()), 2)
    assert pauses.taken == [0.5]


async def test_news_make_the_next_pause_short_again_and_opening_alone_does_not() -> None:
    pauses = Pauses()
    lost = errors.CallCancelled()
    connections = [[lost], [opened(), lost], [opened(), facts(1), lost], [opened(1), facts(2)]]
    await some(follow_thread(Scripted(connections), "t_1", persistence=pauses.persistence(random=1.0)), 3)
    assert pauses.taken == pytest.approx([0.1, 0.2, 0.1])


async def test_it_gives_up_after_the_time_limit_and_says_where_to_go_on() -> None:
    pauses = Pauses()
    runtime = Scripted([[opened(), facts(1, 2), errors.CallCancelled()], [errors.CallCancelled()]])
    persistence = pauses.persistence(random=1.0, give_up_after=timedelta(seconds=20))
    frames: list[StreamFrame] = []
    with pytest.raises(errors.ServiceUnreachable, match="resume after sequence 2"):
        async for frame in follow_thread(runtime, "t_1", persistence=persistence):
            frames.append(frame)
    assert seen(frames) == [1, 2]
    assert sum(pauses.taken) == pytest.approx(20)


async def test_a_real_run_is_followed_whole() -> None:
    runtime = FakeRuntime()
    frames = await read(follow_turn(runtime, streamed("hello there", "t_1")))
    ours = [each for each in await all_events(runtime, "t_1") if each.run_id]
    assert events_in(frames) == ours
    transcript = Transcript()
    for frame in frames:
        transcript = transcript.after(frame)
    assert transcript.answer(frames[0].opened.run_id) == "hello there"


async def test_a_follower_can_stop_at_any_time() -> None:
    runtime = FakeRuntime()
    await runtime.start_turn(start("hello", "t_1"))
    assert seen(await some(follow_thread(runtime, "t_1", after_sequence=2), 2))[0] == 3
