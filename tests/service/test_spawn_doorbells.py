"""NATS hurries and is never needed; several processes share the work; deleted threads leave no words behind."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from heddle.runtime.v1.run_pb2 import RunState
from heddle.runtime.v1.thread_service_pb2 import DeleteThreadRequest
from heddle.runtime.v1.turn_pb2 import AgentReference
from heddle.spawn.v1alpha1.spawn_pb2 import SpawnState
from heddle.spawn.v1alpha1.spawn_service_pb2 import GetSpawnRequest
from heddle_bus import subjects
from heddle_bus.events import DELETED
from heddle_bus.jetstream import JetStreamBus
from heddle_bus.port import Gap
from heddle_bus.server import NatsServer
from heddle_core.changes import Changes
from heddle_spawn.settings import SpawnSettings
from heddle_spawn.wiring import running_spawn
from tests.kit.nats import nats_server
from tests.kit.postgres import shared_server
from tests.kit.running_runtime import new_id
from tests.kit.running_spawn import LEAD, Family, child_spec, introduce, met, served_runtime

SCENARIO = """
turns:
  - when: {user: "delegate"}
    steps:
      - calls:
          - tool: spawn_group
            arguments: {children: [{agent: worker, task: "a"}, {agent: second, task: "b"}]}
      - text: "{{tool.spawn_group field state}}"
  - when: {user: "hang"}
    steps:
      - text: "I begin"
        fault: {kind: hang, after_deltas: 1}
  - when: {user: "ask"}
    steps:
      - calls:
          - tool: ask_user
            arguments: {question: "Go on?"}
      - text: "went on"
  - steps:
      - text: "{{user}} is done"
        stream: {pieces: words, delay_ms: 100}
"""

NEVER = timedelta(hours=1)
TENANT = "default"
"""Of the runtime's development identity."""


@dataclass
class Listening(Family):
    """A family whose spawn service tells what it writes."""

    changes: Changes = field(default_factory=Changes)

    async def wordless(self, spawn_id: str) -> Any:
        """An ended child, once its words are gone: they go when the event of the deletion has come."""
        with self.changes.bell(TENANT, spawn_id) as bell:
            async with asyncio.timeout(20):
                while True:
                    bell.clear()
                    spawn = (await self.spawns.GetSpawn(GetSpawnRequest(spawn_id=spawn_id))).spawn
                    if not spawn.spec.task:
                        return spawn
                    await bell.wait()


@asynccontextmanager
async def rung(folder: Path, server: NatsServer, **settings: Any) -> AsyncGenerator[Listening]:
    """A spawn service that hears of its children by NATS alone, unless `settings` say otherwise."""
    async with AsyncExitStack() as stack:
        served = served_runtime(folder, SCENARIO, nats=server.endpoint)
        address, house = await stack.enter_async_context(served)
        given = {
            "data_dir": folder / "spawn",
            "listen": "127.0.0.1:0",
            "runtime": {"address": address},
            "nats_endpoint": server.endpoint_file,
            "most_watched": 0,
            "sweep_every": NEVER,
            **settings,
        }
        spawn = await stack.enter_async_context(running_spawn(SpawnSettings(**given)))
        await introduce(house, spawn.address, ("worker", "second"))
        here = await stack.enter_async_context(met(house, address, spawn.address))
        yield Listening(house, here.spawns, here.tools, address, spawn.address, changes=spawn.changes)


async def test_a_child_that_moves_rings(tmp_path: Path) -> None:
    async with nats_server(tmp_path / "nats") as server, rung(tmp_path, server) as here:
        run = await here.delegated()
        assert run.result.parts[0].text == "COMPLETED"


async def test_without_nats_and_without_watching_the_sweep_finds_what_has_ended(tmp_path: Path) -> None:
    often = timedelta(seconds=1)
    async with nats_server(tmp_path / "nats") as server, rung(tmp_path, server, sweep_every=often) as here:
        await server.stop()
        run = await here.delegated()
        assert run.result.parts[0].text == "COMPLETED"


async def test_a_deleted_thread_leaves_a_record_without_its_words(tmp_path: Path) -> None:
    async with nats_server(tmp_path / "nats") as server, rung(tmp_path, server) as here:
        spawn = await here.spawn(child_spec("k", "secret work", labels={"a": "b"}), wait_seconds=20)
        assert spawn.result.content[0].text == "secret work is done"
        await delete(here, server, spawn.thread_id)
        left = await here.wordless(spawn.spawn_id)
        assert left.state == SpawnState.SPAWN_STATE_COMPLETED
        assert (left.spec.spawn_key, left.spec.agent_id) == ("k", "worker")
        assert "secret" not in str(left)
        assert not left.spec.labels
        assert left.usage == spawn.usage


async def test_what_was_made_from_a_deleted_parents_thread_loses_its_words_too(tmp_path: Path) -> None:
    async with nats_server(tmp_path / "nats") as server, rung(tmp_path, server) as here:
        run = await here.delegated()
        first = (await here.children(run.run_id))[0]
        group = await here.settled(group_id=first.group_id)
        assert group.spec.stages[0].children[0].task
        await delete(here, server, run.thread_id)
        for each in await here.children(run.run_id):
            await here.wordless(each.spawn_id)
        left = (await here.spawns.GetSpawn(GetSpawnRequest(group_id=first.group_id))).group
        assert not left.spec.stages[0].children[0].task


async def delete(here: Family, server: NatsServer, thread_id: str) -> None:
    """Delete a thread, and wait until everybody has been told."""
    async with JetStreamBus(server.endpoint, name="test", keeps_stream=False) as bus:
        await bus.connection.until(lambda state: state.connected)
        async with await bus.subscribe(subjects.thread_events(thread=thread_id, event=DELETED)) as told:
            await here.house.stubs.threads.DeleteThread(DeleteThreadRequest(request_id=new_id(), thread_id=thread_id))
            async with asyncio.timeout(30):
                async for each in told:
                    if not isinstance(each, Gap):
                        return


async def test_a_child_whose_thread_is_deleted_while_it_waits_ends(tmp_path: Path) -> None:
    often = timedelta(seconds=1)
    async with nats_server(tmp_path / "nats") as server, rung(tmp_path, server, sweep_every=often) as here:
        spawn = await here.spawn(child_spec("k", "ask"), wait_seconds=20)
        assert spawn.state == SpawnState.SPAWN_STATE_WAITING
        await here.house.stubs.threads.DeleteThread(DeleteThreadRequest(request_id=new_id(), thread_id=spawn.thread_id))
        ended = await here.settled(spawn_id=spawn.spawn_id)
        assert ended.state in (SpawnState.SPAWN_STATE_FAILED, SpawnState.SPAWN_STATE_CANCELLED)


async def test_three_processes_on_one_postgres_share_the_work_and_start_no_child_twice(tmp_path: Path) -> None:
    server = shared_server()
    name = await server.create()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.drop, name)
        address, house = await stack.enter_async_context(served_runtime(tmp_path, SCENARIO))
        here: list[Family] = []
        for number in range(3):
            settings = SpawnSettings(
                data_dir=tmp_path / f"spawn-{number}",
                database=server.url(name),
                listen="127.0.0.1:0",
                runtime={"address": address},
                sweep_every=timedelta(seconds=1),
            )
            spawn = await stack.enter_async_context(running_spawn(settings))
            if not here:
                await introduce(house, spawn.address, ("worker", "second"))
            here.append(await stack.enter_async_context(met(house, address, spawn.address)))
        parent = (await house.start("hang", wait=0, agent=AgentReference(agent_id=LEAD))).run.run_id
        specs = [child_spec(f"k{number}", "ask") for number in range(6)]
        made = await asyncio.gather(
            *(each.spawn(spec, parent_run_id=parent) for spec in specs for each in here), return_exceptions=True
        )
        ids = {each.spawn_id for each in made if not isinstance(each, BaseException)}
        assert len(ids) == 6, [each for each in made if isinstance(each, BaseException)]
        children = await here[2].started(parent, 6)
        assert {each.spawn_id for each in children} == ids
        assert len(await here[0].runs_under(parent)) == 6
        await here[0].cancel(spawn_id=children[0].spawn_id)
        assert (await here[1].settled(spawn_id=children[0].spawn_id)).state == SpawnState.SPAWN_STATE_CANCELLED
        groups = await asyncio.gather(*(each.lead("delegate", wait=0) for each in here))
        for run in groups:
            assert (await here[0].ended(run.run_id)).state == RunState.RUN_STATE_COMPLETED
