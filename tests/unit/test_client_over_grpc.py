import asyncio
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta

import pytest

from heddle.runtime.v1.agent_runtime_pb2 import GetSnapshotRequest
from heddle.runtime.v1.run_service_pb2 import GetRunRequest, ListRunsRequest
from heddle.runtime.v1.thread_service_pb2 import GetThreadRequest
from heddle_client.fake import FakeRuntime
from heddle_client.fake_script import Reply, script_of
from heddle_client.over_grpc import connect
from heddle_client.persistence import USUAL
from heddle_client.resume import follow_thread, follow_turn
from heddle_client.transcript import Transcript
from heddle_core import errors, runtime_errors
from tests.kit.runtime_calls import all_events, read, start, streamed
from tests.kit.runtime_script import Kind, Mishap, serving

SAID = "one two thrée four five"
SCRIPT = script_of({"count": [Reply(SAID)], "hold": [Reply("I begin ", holds=True)]})


async def soon(seconds: float) -> None:
    await asyncio.sleep(0)


HASTY = replace(USUAL, random=lambda: 0.0, sleep=soon)


@pytest.mark.parametrize("kind", [Kind.CUT, Kind.ROTATE, Kind.DRAIN, Kind.SLOW, Kind.REPEAT, Kind.STALL])
async def test_a_run_is_told_whole_and_right_wherever_its_stream_breaks(kind: Kind) -> None:
    runtime = FakeRuntime(SCRIPT)
    silence = timedelta(milliseconds=100) if kind is Kind.STALL else timedelta(seconds=10)
    async with (
        serving(runtime) as (address, streams),
        connect(address, silence=silence) as client,
        asyncio.timeout(30),
    ):
        whole = len(await read(client.stream_turn(streamed("count", "t_whole"))))
        places = range(1, whole) if kind is not Kind.STALL else (1, whole // 2, whole - 1)
        for place in places:
            streams.mishaps.append(Mishap(kind, place))
            transcript, run_id, events = Transcript(), "", []
            async with aclosing(follow_turn(client, streamed("count", f"t_{place}"), persistence=HASTY)) as frames:
                async for frame in frames:
                    run_id = run_id or frame.opened.run_id
                    events += frame.events.events
                    transcript = transcript.after(frame)
                    assert SAID.startswith(transcript.answer(run_id))
            assert not streams.mishaps
            assert transcript.answer(run_id) == SAID
            assert events == [each for each in await all_events(runtime, f"t_{place}") if each.run_id]


async def test_words_are_never_doubled_by_a_reset() -> None:
    async with serving(FakeRuntime(SCRIPT)) as (address, streams), connect(address) as client:
        frames = await read(client.stream_turn(streamed("count", "t_whole")))
        places = [place for place, frame in enumerate(frames) if frame.HasField("deltas")]
        assert len(places) == 5
        for place in places:
            streams.mishaps.append(Mishap(Kind.RESET, place))
            told = await read(follow_turn(client, streamed("count", f"t_{place}"), persistence=HASTY))
            words = [delta for frame in told for delta in frame.deltas.deltas]
            assert "".join(delta.text for delta in words) == SAID
            assert not any(delta.reset for delta in words)


async def test_an_event_that_is_lost_on_the_way_is_read_from_the_log() -> None:
    runtime = FakeRuntime(SCRIPT)
    async with serving(runtime) as (address, streams), connect(address) as client:
        events: list[int] = []
        started = False
        async with asyncio.timeout(10):
            await client.start_turn(start("count", "t_1"))
            last = len(await all_events(runtime, "t_1"))
            streams.mishaps.append(Mishap(Kind.LOSE, 2))
            async with aclosing(follow_thread(client, "t_1", after_sequence=last, persistence=HASTY)) as frames:
                async for frame in frames:
                    events += [each.sequence for each in frame.events.events]
                    if not started:
                        started = True
                        await client.start_turn(start("count", "t_1"))
                    if events and events[-1] == 2 * last - 1:
                        break
        assert not streams.mishaps
        assert events == list(range(last + 1, 2 * last))


async def test_a_server_that_is_restarted_is_found_again() -> None:
    runtime = FakeRuntime(SCRIPT)
    words_came = asyncio.Event()

    async def follow(address: str) -> tuple[str, str]:
        transcript, run_id = Transcript(), ""
        async with (
            connect(address) as client,
            aclosing(follow_turn(client, streamed("hold", "t_1"), persistence=HASTY)) as frames,
        ):
            async for frame in frames:
                run_id = run_id or frame.opened.run_id
                transcript = transcript.after(frame)
                assert "I begin ".startswith(transcript.answer(run_id))
                if transcript.answer(run_id):
                    words_came.set()
        return run_id, transcript.answer(run_id)

    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        async with serving(runtime) as (address, _):
            reader = tasks.create_task(follow(address))
            await words_came.wait()
        async with serving(runtime, listen=address):
            (run,) = (await runtime.list_runs(ListRunsRequest())).runs
            runtime.go_on(run.run_id)
            await reader
    assert reader.result() == (run.run_id, "I begin ")


async def test_a_client_acts_as_another_and_stays_itself() -> None:
    async with serving(FakeRuntime()) as (address, _), connect(address) as client:
        bob = client.acting_as("beta", "bob")
        theirs = (await bob.start_turn(start("hello"))).run
        assert (theirs.actor.principal, theirs.actor.acted_by) == ("bob", "acme/ann")
        assert (await bob.get_run(GetRunRequest(run_id=theirs.run_id))).run == theirs
        with pytest.raises(runtime_errors.RunNotFound):
            await client.get_run(GetRunRequest(run_id=theirs.run_id))
        ours = (await client.start_turn(start("hello"))).run
        assert (ours.actor.principal, ours.actor.acted_by) == ("ann", "")


async def test_a_stream_that_brings_nothing_is_taken_for_dead() -> None:
    mishaps = [Mishap(Kind.STALL, 1)]
    async with (
        serving(FakeRuntime(SCRIPT), mishaps) as (address, _),
        connect(address, silence=timedelta(milliseconds=50)) as client,
    ):
        with pytest.raises(errors.ServiceUnreachable, match=r"nothing came on the stream for 0\.05 s"):
            await read(client.stream_turn(streamed("count", "t_1")))


async def test_nobody_at_home_is_told_as_an_error_of_ours() -> None:
    async with connect("127.0.0.1:1") as client:
        with pytest.raises(errors.ServiceUnreachable) as told:
            await client.get_snapshot(GetSnapshotRequest(thread_id="t_1"))
    assert told.value.target == "127.0.0.1:1"


async def test_leaving_a_stream_early_ends_its_call() -> None:
    runtime = FakeRuntime(SCRIPT)
    async with serving(runtime) as (address, streams), connect(address) as client:
        async with asyncio.timeout(10), aclosing(client.stream_turn(streamed("hold", "t_1"))) as frames:
            await anext(frames)
        async with asyncio.timeout(10):
            await streams.left.wait()


async def test_a_stream_that_is_never_read_is_never_opened() -> None:
    async with serving(FakeRuntime()) as (address, streams), connect(address) as client:
        await client.stream_turn(streamed("hello", "t_1")).aclose()
        with pytest.raises(runtime_errors.ThreadNotFound):
            await client.get_snapshot(GetSnapshotRequest(thread_id="t_1"))
        assert streams.opened == []


async def test_the_stubs_beside_the_facade_raise_our_errors_too() -> None:
    async with serving(FakeRuntime()) as (address, _), connect(address) as client:
        with pytest.raises(errors.NotServed):
            await client.stubs.threads.GetThread(GetThreadRequest(thread_id="t_1"))


async def test_a_token_is_not_sent_in_plaintext_to_another_machine() -> None:
    with pytest.raises(errors.CannotServe):
        async with connect("heddle.example:7450", token="secret"):
            pass
