"""StartStreamingTurn and WatchRun over a served runtime: words, rejoining, and where a stream ends."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from heddle.common.v1.content_pb2 import ContentPart, InlineData
from heddle.runtime.v1 import stream_pb2
from heddle.runtime.v1.agent_runtime_pb2 import StartStreamingTurnRequest
from heddle.runtime.v1.event_pb2 import ThreadEvent
from heddle.runtime.v1.run_pb2 import RunState
from heddle.runtime.v1.stream_pb2 import StreamFrame
from heddle.runtime.v1.turn_pb2 import ConflictPolicy, Turn
from heddle_core.errors import InvalidField
from heddle_core.runtime_errors import CursorAhead, RequestNotFound
from tests.kit.running_runtime import House, house

pytestmark = pytest.mark.timeout(60)

SCENARIO = """
turns:
  - when: {user: '^hang'}
    steps:
      - text: "I begin to say much more"
        fault: {kind: hang, after_deltas: 4}
  - when: {user: '^think'}
    steps:
      - reasoning: "Let me see."
        text: "Grüße aus Köln, all is said."
  - when: {user: '^two questions'}
    steps:
      - calls:
          - {tool: ask_user, arguments: {question: "One?"}}
          - {tool: ask_user, arguments: {question: "Two?"}}
      - text: "You said {{tool.ask_user}}."
  - when: {user: '^wait'}
    steps:
      - calls: [{tool: ask_user, arguments: {question: "Which?"}, pieces: 3}]
      - text: "You said {{tool.ask_user}}."
  - when: {user: '^slow'}
    steps:
      - text: "a b c d e f g h i j k l m n o p q r s t"
        stream: {delay_ms: 30}
  - when: {user: '^flaky'}
    steps:
      - text: "one two three four"
        fault: {kind: retryable, after_deltas: 2, times: 1}
  - steps:
      - text: "You said {{user}}."
"""

SETTLED = stream_pb2.CLOSING_REASON_SETTLED


@pytest_asyncio.fixture
async def here(tmp_path: Path) -> AsyncGenerator[House]:
    async with house(tmp_path, SCENARIO) as running:
        yield running


async def all_of(frames: Any) -> list[StreamFrame]:
    async with asyncio.timeout(20), aclosing(frames):
        return [frame async for frame in frames]


def events_of(frames: list[StreamFrame]) -> list[ThreadEvent]:
    return [event for frame in frames for event in frame.events.events]


def kinds_of(frames: list[StreamFrame]) -> list[str]:
    return [str(event.WhichOneof("payload")) for event in events_of(frames)]


def rejoin(here: House, request_id: str, after: int, **fields: Any) -> Any:
    return here.stream(StartStreamingTurnRequest(request_id=request_id, after_sequence=after, **fields))


async def test_a_stream_opens_at_once_carries_words_and_facts_and_ends_where_the_run_settles(here: House) -> None:
    frames = await all_of(here.frames("think", "t1", request_id="r1"))
    assert frames[0].WhichOneof("frame") == "opened" and frames[0].opened.thread_id == "t1"
    assert (frames[-1].closing.reason, frames[-1].closing.resume_after_sequence) == (
        SETTLED,
        events_of(frames)[-1].sequence,
    )
    assert kinds_of(frames)[-1] == "run_completed"
    deltas = [delta for frame in frames for delta in frame.deltas.deltas]
    text = [delta for delta in deltas if delta.channel == stream_pb2.DELTA_CHANNEL_TEXT]
    assert "".join(delta.text for delta in text) == "Grüße aus Köln, all is said."
    ends = 0
    for delta in text:
        assert delta.offset == ends
        ends += len(delta.text.encode())
    thoughts = [delta.text for delta in deltas if delta.channel == stream_pb2.DELTA_CHANNEL_REASONING]
    assert "".join(thoughts) == "Let me see."


async def test_no_words_come_before_their_step_or_behind_their_message(here: House) -> None:
    frames = await all_of(here.frames("flaky", "t1"))
    open_messages: set[str] = set()
    attempts: list[int] = []
    for frame in frames:
        for event in frame.events.events:
            match event.WhichOneof("payload"):
                case "step_started":
                    open_messages.discard(event.step_started.discards_message_id)
                    open_messages.add(event.step_started.message_id)
                    attempts.append(event.step_started.attempt)
                case "assistant_message_completed":
                    open_messages.discard(event.assistant_message_completed.message_id)
        assert {delta.message_id for delta in frame.deltas.deltas} <= open_messages
    assert attempts == [1, 2]


async def test_a_run_can_be_rejoined_at_every_sequence(here: House) -> None:
    whole = events_of(await all_of(here.frames("wait", "t1", request_id="r1")))
    question = (await here.pending("t1"))[0]
    await here.resolve(question.input_id, text="blue")
    run_id = whole[0].run_id
    await here.wait(run_id)
    told = [event for event in await here.events("t1") if event.run_id == run_id]
    for after in range(told[-1].sequence + 1):
        frames = await all_of(rejoin(here, "r1", after))
        assert [e.sequence for e in events_of(frames)] == [e.sequence for e in told if e.sequence > after]
        assert frames[-1].closing.reason == SETTLED, "an old RunWaiting in the replay ends nothing"
    with pytest.raises(CursorAhead):
        await all_of(rejoin(here, "r1", told[-1].sequence + 1))


async def test_a_stream_ends_where_the_run_waits_and_can_be_joined_again_there(here: House) -> None:
    frames = await all_of(here.frames("wait", "t1", request_id="r1"))
    assert kinds_of(frames)[-1] == "run_waiting"
    cursor = frames[-1].closing.resume_after_sequence
    again = await all_of(rejoin(here, "r1", cursor))
    assert not events_of(again) and again[-1].closing.reason == SETTLED
    question = (await here.pending("t1"))[0]
    await here.resolve(question.input_id, text="blue")
    rest = await all_of(rejoin(here, "r1", cursor))
    assert kinds_of(rest)[0] == "input_resolved" and kinds_of(rest)[-1] == "run_completed"


async def test_a_stream_still_ends_when_one_of_two_questions_was_answered(here: House) -> None:
    await all_of(here.frames("two questions", "t1", request_id="r1"))
    await here.resolve((await here.pending("t1"))[0].input_id, text="one")
    frames = await all_of(rejoin(here, "r1", 0))
    assert kinds_of(frames)[-2:] == ["run_waiting", "input_resolved"]
    assert frames[-1].closing.reason == SETTLED


async def test_a_stream_can_be_kept_through_the_wait(here: House) -> None:
    first = StartStreamingTurnRequest(
        request_id="r1",
        thread_id="t1",
        create_if_missing=True,
        turn=Turn(content=[ContentPart(text="wait")], agent={"agent_id": "tester"}),
        end_on_waiting=False,
    )
    seen: list[str] = []
    async with asyncio.timeout(20), aclosing(here.stream(first)) as frames:
        async for frame in frames:
            kinds = kinds_of([frame])
            seen += kinds
            if "run_waiting" in kinds:
                await here.resolve((await here.pending("t1"))[0].input_id, text="blue")
    assert seen[-1] == "run_completed" and seen.count("run_waiting") == 1


async def test_whoever_joins_in_the_middle_gets_the_words_so_far(here: House) -> None:
    run_id = await here.words("hang", "t1", "I begin to say ", request_id="r1")
    async with asyncio.timeout(20), aclosing(rejoin(here, "r1", 0)) as frames:
        async for frame in frames:
            if frame.deltas.deltas:
                delta = frame.deltas.deltas[0]
                assert (delta.reset, delta.offset, delta.text) == (True, 0, "I begin to say ")
                break
    await here.cancel(run_id)


async def test_a_stream_carries_its_own_run_alone(here: House) -> None:
    holder = await here.words("hang", "t1", "I begin")
    queued = here.frames("second", "t1")
    run_id, seen = "", []
    async with asyncio.timeout(20), aclosing(queued) as frames:
        async for frame in frames:
            if frame.WhichOneof("frame") == "opened":
                run_id = frame.opened.run_id
                await here.cancel(holder)
            seen.append(frame)
    assert run_id and {event.run_id for event in events_of(seen)} == {run_id}
    assert kinds_of(seen)[0] == "turn_requested" and kinds_of(seen)[-1] == "run_completed"
    assert {delta.run_id for frame in seen for delta in frame.deltas.deltas} == {run_id}


async def test_hanging_up_cancels_nothing(here: House) -> None:
    async with asyncio.timeout(20), aclosing(here.frames("hello", "t1")) as frames:
        async for frame in frames:
            run_id = frame.opened.run_id
            break
    assert (await here.wait(run_id)).state == RunState.RUN_STATE_COMPLETED


async def test_joining_starts_nothing(here: House) -> None:
    with pytest.raises(RequestNotFound):
        await all_of(rejoin(here, "never", 0))
    await here.start("hello", "t1", request_id="r1")
    with pytest.raises(InvalidField):
        await all_of(here.stream(StartStreamingTurnRequest(request_id="r1", after_sequence=-1)))


async def test_a_repeated_streaming_turn_streams_the_run_that_it_started(here: House) -> None:
    first = await all_of(here.frames("hello", "t1", request_id="r1"))
    again = await all_of(here.frames("hello", "t1", request_id="r1"))
    assert [e.hash for e in events_of(again)] == [e.hash for e in events_of(first) if e.run_id]


async def test_a_message_that_comes_while_the_model_writes_is_answered_behind_its_words(here: House) -> None:
    steer = {"conflict_policy": ConflictPolicy.CONFLICT_POLICY_STEER, "wait": 0}
    seen: list[StreamFrame] = []
    async with asyncio.timeout(20), aclosing(here.frames("slow", "t1")) as frames:
        async for frame in frames:
            seen.append(frame)
            if "step_started" in kinds_of([frame]) and "turn_steered" not in kinds_of(seen):
                await here.start("and more", "t1", **steer)
    kinds = kinds_of(seen)
    assert kinds.index("turn_steered") < kinds.index("assistant_message_completed")
    assert kinds.count("assistant_message_completed") == 2
    assert events_of(seen)[-1].run_completed.result.parts[0].text == "You said and more."


async def test_no_frame_is_larger_than_a_stock_client_takes(here: House) -> None:
    large = [ContentPart(inline_data=InlineData(media_type="image/png", data=bytes(1024 * 1024), name="x"))] * 3
    turn = Turn(content=[ContentPart(text="see"), *large], agent={"agent_id": "tester"})
    request = StartStreamingTurnRequest(request_id="r1", thread_id="t1", create_if_missing=True, turn=turn)
    frames = await all_of(here.stream(request))
    assert kinds_of(frames)[-1] == "run_completed"
    assert max(frame.ByteSize() for frame in frames) < 3 * 1024 * 1024
    assert (await here.snapshot("t1")).ByteSize() < 3 * 1024 * 1024
