"""What a runtime tells on /metrics: its events, its open runs, its commits and its calls."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families

from heddle.common.v1.content_pb2 import ContentPart
from heddle.runtime.v1.agent_runtime_pb2 import StartTurnRequest
from heddle.runtime.v1.run_pb2 import Run
from heddle.runtime.v1.turn_pb2 import Turn
from heddle_client.stubs import RuntimeStubs
from heddle_core.clock import Micros
from heddle_grpc.channel import open_channel
from heddle_grpc.settings import ChannelSettings
from heddle_runtime.runs.state import RunState
from heddle_runtime.settings import LaneTimes, RuntimeSettings
from heddle_runtime.store.measures import open_runs, unpublished
from heddle_runtime.store.relay_rows import relays_by_stream
from heddle_runtime.store.relay_store import DatabaseRelayStore
from heddle_runtime.wiring.metrics import RuntimeMeasures
from heddle_runtime.wiring.runtime import running_runtime
from tests.kit.stores import LEASE, OTHER, SHOPS, WORKER, Shop


@asynccontextmanager
async def scraped_runtime(folder: Path) -> AsyncGenerator[tuple[RuntimeStubs, int]]:
    """A runtime, and the port of its probes."""
    settings = RuntimeSettings(
        data_dir=folder / "data",
        listen="127.0.0.1:0",
        operations_http="127.0.0.1:0",
        lanes=LaneTimes(drain_grace=timedelta(milliseconds=100)),
    )
    async with running_runtime(settings) as runtime:
        channel = open_channel(ChannelSettings.model_validate({"address": runtime.address, "attempts": 1}))
        yield RuntimeStubs.on(channel), runtime.operations_http_port
        await channel.close()


async def turn(stubs: RuntimeStubs, **fields: object) -> Run:
    words = Turn(content=[ContentPart(text="hello")], **fields)
    request = StartTurnRequest(request_id=f"req_{uuid4().hex[:20]}", turn=words, wait_seconds=20)
    return (await stubs.agent_runtime.StartTurn(request)).run


async def scrape(port: int) -> dict[str, float]:
    """Every sample by its name and the values of its labels, in the order of their names."""
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
        writer.close()
        await writer.wait_closed()
    assert head.startswith("HTTP/1.1 200 OK")
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(body)
        for sample in family.samples
    }


async def test_a_turn_shows_in_events_calls_and_commits(tmp_path: Path) -> None:
    async with scraped_runtime(tmp_path) as (stubs, port):
        before = await scrape(port)
        await turn(stubs)
        await turn(stubs)
        after = await scrape(port)
    for kind in ("turn_requested", "run_started", "step_started", "run_completed"):
        assert f"heddle_events_committed_total {kind}" not in before
        assert after[f"heddle_events_committed_total {kind}"] == 2
    assert after["heddle_grpc_calls_total OK /heddle.runtime.v1.AgentRuntime/StartTurn"] == 2
    assert after["heddle_grpc_call_seconds_count /heddle.runtime.v1.AgentRuntime/StartTurn"] == 2
    assert after["heddle_database_commits_total"] > before["heddle_database_commits_total"]
    assert after["heddle_database_batch_count"] == after["heddle_database_commits_total"]
    assert after["heddle_database_batch_sum"] >= after["heddle_database_batch_count"]
    assert after["heddle_grpc_admitted unary"] == after["heddle_grpc_admitted stream"] == 0


async def test_open_runs_are_counted_by_state(tmp_path: Path) -> None:
    async with scraped_runtime(tmp_path) as (stubs, port):
        before = await scrape(port)
        delayed = Turn(content=[ContentPart(text="later")])
        delayed.not_before.GetCurrentTime()
        delayed.not_before.seconds += 3600
        await stubs.agent_runtime.StartTurn(StartTurnRequest(request_id=f"req_{uuid4().hex[:20]}", turn=delayed))
        after = await scrape(port)
    assert [before[f"heddle_runs {state}"] for state in ("queued", "running", "waiting")] == [0, 0, 0]
    assert [after[f"heddle_runs {state}"] for state in ("queued", "running", "waiting")] == [1, 0, 0]
    assert after["heddle_runs_in_hand"] == 0


@pytest_asyncio.fixture(params=SHOPS)
async def shop(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Shop]:
    async with SHOPS[request.param](tmp_path) as running:
        yield running


async def test_what_is_stored_is_counted_on_both_engines(shop: Shop) -> None:
    none = {RunState.QUEUED: 0, RunState.RUNNING: 0, RunState.WAITING: 0}
    assert await shop.database.read(open_runs) == none
    assert await shop.database.read(unpublished) == (0, 0)
    await shop.owner()
    await shop.turn("t2")
    await shop.turn("t2")
    assert await shop.database.read(open_runs) == {**none, RunState.QUEUED: 2, RunState.RUNNING: 1}
    written = len(await shop.events("t1")) + len(await shop.events("t2"))
    assert await shop.database.read(unpublished) == (2, written)


async def test_without_a_bus_nothing_is_said_to_be_behind(shop: Shop) -> None:
    await shop.turn()
    told = {each.name: each for each in await RuntimeMeasures(shop.database, lambda: 0, publishes=False).read()}
    assert "heddle_runs" in told and "heddle_relay_events_behind" not in told
    told = {each.name: each for each in await RuntimeMeasures(shop.database, lambda: 0, publishes=True).read()}
    assert told["heddle_relay_events_behind"].values == {(): 2}
    assert "heddle_relay_streams" not in told, "there is no relay"


async def test_the_streams_of_the_runtimes_that_live_are_counted(shop: Shop) -> None:
    rows = DatabaseRelayStore(shop.store)
    for worker, stream in ((WORKER, Micros(5)), (OTHER, Micros(7))):
        await shop.store.renew_lease(worker, f"of {worker}", LEASE)
        await rows.stand(worker, stream, sole_process=False)
    await rows.adopt(None, Micros(7))
    assert await shop.database.read(relays_by_stream) == {7: [f"of {OTHER}"], 5: [f"of {WORKER}"]}
    told = {each.name: each for each in await RuntimeMeasures(shop.database, lambda: 0, publishes=True).read()}
    assert told["heddle_relay_streams"].values == {(): 2}
    shop.clock.advance(LEASE / 1_000_000 + 1)
    assert await shop.database.read(relays_by_stream) == {}
