"""Watching a child at one replica while another looks after it: told by NATS alone."""

import asyncio
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from pathlib import Path

from heddle.spawn.v1alpha1.spawn_pb2 import SpawnState
from heddle.spawn.v1alpha1.spawn_service_pb2 import WatchSpawnRequest
from heddle_bus import subjects
from heddle_bus.port import Bus, Message
from heddle_spawn.settings import SpawnSettings
from heddle_spawn.wiring import running_spawn
from tests.kit.nats import jetstream_bus, nats_server
from tests.kit.postgres import shared_server
from tests.kit.running_runtime import new_id
from tests.kit.running_spawn import Family, child_spec, introduce, met, served_runtime

SCENARIO = """
turns:
  - steps:
      - calls:
          - tool: ask_user
            arguments: {question: "Go on?"}
      - text: "went on"
"""


async def connected(replica: Family, bus: Bus) -> None:
    """Once a replica's changes come through the bus: it rings and hears by one connection."""
    async with asyncio.timeout(30), await bus.subscribe(subjects.control("changed", "spawn")) as bells:
        while True:
            made = await replica.spawn(child_spec(new_id()))
            with suppress(TimeoutError):
                async with asyncio.timeout(2):
                    async for each in bells:
                        if isinstance(each, Message) and made.spawn_id.encode() in each.payload:
                            return


async def test_who_watches_at_one_replica_is_told_what_another_does(tmp_path: Path) -> None:
    server = shared_server()
    name = await server.create()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.drop, name)
        nats = await stack.enter_async_context(nats_server(tmp_path / "nats"))
        address, house = await stack.enter_async_context(served_runtime(tmp_path, SCENARIO))
        here: list[Family] = []
        for number in range(2):
            settings = SpawnSettings(
                data_dir=tmp_path / f"spawn-{number}",
                database=server.url(name),
                listen="127.0.0.1:0",
                runtime={"address": address},
                nats_endpoint=nats.endpoint_file,
                sweep_every=timedelta(hours=1),
                log_level="WARNING",
            )
            spawn = await stack.enter_async_context(running_spawn(settings))
            if not here:
                await introduce(house, spawn.address, ("worker",))
            here.append(await stack.enter_async_context(met(house, address, spawn.address)))
        bus = await stack.enter_async_context(jetstream_bus(nats))
        for each in here:
            await connected(each, bus)
        made = await here[0].spawn(child_spec("watched"), wait_seconds=20)
        assert made.state == SpawnState.SPAWN_STATE_WAITING
        watched = here[1].spawns.WatchSpawn(WatchSpawnRequest(spawn_id=made.spawn_id))
        async with asyncio.timeout(20):
            assert (await anext(aiter(watched))).spawn.state == SpawnState.SPAWN_STATE_WAITING
            await here[0].cancel(spawn_id=made.spawn_id)
            states = [frame.spawn.state async for frame in watched]
        assert states[-1] == SpawnState.SPAWN_STATE_CANCELLED
