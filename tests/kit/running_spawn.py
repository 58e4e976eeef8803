"""A runtime and a spawn service beside it, each on a port of its own, wired as they are served."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from heddle.common.v1.content_pb2 import ContentPart
from heddle.runtime.v1 import agent_pb2, agent_service_pb2, tool_provider_service_pb2
from heddle.runtime.v1.run_pb2 import Run
from heddle.runtime.v1.run_service_pb2 import ListRunsRequest, WatchRunRequest
from heddle.runtime.v1.thread_service_pb2 import ListEventsRequest
from heddle.runtime.v1.turn_pb2 import AgentReference, Limits
from heddle.spawn.v1alpha1 import spawn_group_pb2, spawn_pb2
from heddle.spawn.v1alpha1 import spawn_service_pb2 as pb
from heddle.spawn.v1alpha1.spawn_service_pb2_grpc import SpawnServiceStub
from heddle.tools.v1.tool_service_pb2_grpc import ToolServiceStub
from heddle_bus.endpoint import FindEndpoint
from heddle_client.stubs import RuntimeStubs
from heddle_grpc.channel import open_channel
from heddle_grpc.settings import ChannelSettings
from heddle_runtime.settings import BusSettings, LaneTimes, LimitSettings, RuntimeSettings
from heddle_runtime.wiring.runtime import running_runtime
from heddle_spawn.settings import SpawnSettings
from heddle_spawn.wiring import running_spawn
from tests.kit.running_runtime import House, new_id
from tests.kit.tool_servers import ToolServer

LEAD = "lead"
"""The agent of parents."""


@dataclass
class Family:
    """A runtime, a spawn service, and what callers do with both."""

    house: House
    spawns: SpawnServiceStub
    tools: ToolServiceStub
    runtime_address: str
    spawn_address: str
    agents: tuple[str, ...] = field(default=())

    async def lead(self, text: str, *, wait: int = 20, **fields: Any) -> Run:
        """Start a turn of the parent's agent, and wait until it settles or waits."""
        agent = AgentReference(agent_id=LEAD)
        return (await self.house.start(text, wait=wait, **{"agent": agent, **fields})).run

    async def parent(self) -> str:
        """A run that hangs, of a scenario that does so at the word: a parent that is at work."""
        return (await self.lead("hang", wait=0)).run_id

    async def ended(self, run_id: str, seconds: float = 30) -> Run:
        """The run once it is over; what it waits for is answered by others."""
        try:
            async with asyncio.timeout(seconds):
                watched = self.house.stubs.runs.WatchRun(
                    WatchRunRequest(run_id=run_id, end_on_waiting=False), wait_for_ready=True
                )
                async for _ in watched:
                    pass
        except TimeoutError:
            raise AssertionError(await self._standing(run_id)) from None
        return await self.house.run(run_id)

    async def delegated(self, text: str = "delegate", **fields: Any) -> Run:
        """A turn of the parent's agent from its start to its end."""
        return await self.ended((await self.lead(text, wait=0, **fields)).run_id)

    async def _standing(self, run_id: str) -> str:
        """How a run that did not end stands, with its thread and its children."""
        run = await self.house.run(run_id)
        events = await self.house.events(run.thread_id)
        return f"{run}\n{events[-4:]}\n{await self.children(run_id)}"

    async def spawn(self, spec: spawn_pb2.SpawnSpec, **fields: Any) -> spawn_pb2.Spawn:
        request = pb.SpawnAgentRequest(**{"request_id": new_id(), "spec": spec, **fields})
        return (await self.spawns.SpawnAgent(request, wait_for_ready=True)).spawn

    async def group(self, spec: spawn_group_pb2.SpawnGroupSpec, **fields: Any) -> spawn_group_pb2.SpawnGroup:
        request = pb.SpawnGroupRequest(**{"request_id": new_id(), "spec": spec, **fields})
        return (await self.spawns.SpawnGroup(request, wait_for_ready=True)).group

    async def settled(self, *, spawn_id: str = "", group_id: str = "", seconds: float = 30) -> Any:
        """A child or group once it is over."""
        target = pb.WatchSpawnRequest(spawn_id=spawn_id or None, group_id=group_id or None)
        last: Any = None
        async with asyncio.timeout(seconds):
            async for frame in self.spawns.WatchSpawn(target, wait_for_ready=True):
                last = frame.spawn if spawn_id else frame.group
        return last

    async def cancel(self, **fields: Any) -> pb.CancelSpawnResponse:
        return await self.spawns.CancelSpawn(pb.CancelSpawnRequest(request_id=new_id(), **fields))

    async def started(self, run_id: str, count: int = 1) -> list[spawn_pb2.Spawn]:
        """The children of a run, once so many have a run of their own."""
        async with asyncio.timeout(20):
            while len(found := [each for each in await self.children(run_id) if each.run_id]) < count:
                (await self._next_of(run_id, found))
        return found

    async def reaching(self, run_id: str, state: int) -> spawn_pb2.Spawn:
        """The only child of a run, once it stands so."""
        (child,) = await self.started(run_id)
        async with asyncio.timeout(20):
            watched = self.spawns.WatchSpawn(pb.WatchSpawnRequest(spawn_id=child.spawn_id))
            async for frame in watched:
                if frame.spawn.state == state:
                    return frame.spawn
        raise AssertionError(f"{child.spawn_id} ended without that")

    async def _next_of(self, run_id: str, found: list[spawn_pb2.Spawn]) -> None:
        """Wait for the runtime to know one child more of a run, and for the record of it."""
        known = {each.run_id for each in found}
        thread_id = (await self.house.run(run_id)).thread_id
        request = ListEventsRequest(thread_id=thread_id, run_id=run_id, page_size=1000)
        page = await self.house.stubs.threads.ListEvents(request)
        told = [each for each in page.events if each.WhichOneof("payload") == "child_spawned"]
        if len(told) <= len(known):
            request.after_sequence, request.wait_seconds = page.last_sequence, 5
            await self.house.stubs.threads.ListEvents(request)

    async def children(self, run_id: str) -> list[spawn_pb2.Spawn]:
        """The children of a run, oldest first."""
        request = pb.ListSpawnsRequest(parent_run_id=run_id, order_by="create_time", page_size=1000)
        return list((await self.spawns.ListSpawns(request, wait_for_ready=True)).spawns)

    async def runs_under(self, run_id: str) -> list[Run]:
        """The runs that the runtime knows as its children."""
        request = ListRunsRequest(parent_run_id=run_id, page_size=1000)
        return list((await self.house.stubs.runs.ListRuns(request)).runs)


def child_spec(key: str, task: str = "work", agent: str = "worker", **fields: Any) -> spawn_pb2.SpawnSpec:
    """What one child is to do."""
    return spawn_pb2.SpawnSpec(spawn_key=key, agent_id=agent, task=[ContentPart(text=task)], **fields)


@asynccontextmanager
async def family(
    folder: Path,
    scenario: str,
    *,
    agents: Sequence[str] = ("worker", "second", "third"),
    limits: LimitSettings | None = None,
    lead_limits: Limits | None = None,
    settings: Mapping[str, Any] | None = None,
    first: bool = True,
) -> AsyncGenerator[Family]:
    """Serve both; every agent plays `scenario`, which tells them apart by the words of their tasks."""
    async with AsyncExitStack() as stack:
        runtime_address, house = await stack.enter_async_context(served_runtime(folder, scenario, limits=limits))
        given = {
            "data_dir": folder / "spawn",
            "listen": "127.0.0.1:0",
            "runtime": {"address": runtime_address},
            "log_level": "WARNING",
            **(settings or {}),
        }
        spawn = await stack.enter_async_context(running_spawn(SpawnSettings(**given)))
        if first:
            await introduce(house, spawn.address, agents, lead_limits)
        yield await stack.enter_async_context(met(house, runtime_address, spawn.address))


@asynccontextmanager
async def served_runtime(
    folder: Path, scenario: str, *, limits: LimitSettings | None = None, nats: FindEndpoint | None = None
) -> AsyncGenerator[tuple[str, House]]:
    """A runtime whose model plays `scenario`, and its address; it publishes to `nats`, if there is one."""
    file = folder / "scenario.yaml"
    file.write_text(scenario)
    settings = RuntimeSettings(
        data_dir=folder / "data",
        listen="127.0.0.1:0",
        model=f"scripted:{file}",
        limits=limits or LimitSettings(),
        lanes=LaneTimes(drain_grace=timedelta(milliseconds=100)),
        bus=BusSettings(bytes_limit=64 * 1024**2),  # what the small server of tests can hold
        log_level="WARNING",
    )
    async with AsyncExitStack() as stack:
        runtime = await stack.enter_async_context(running_runtime(settings, nats))
        channel = open_channel(ChannelSettings.model_validate({"address": runtime.address, "attempts": 1}))
        stack.push_async_callback(channel.close)
        yield runtime.address, House(RuntimeStubs.on(channel), ToolServer(), folder)


async def introduce(house: House, spawn_address: str, agents: Sequence[str], lead_limits: Limits | None = None) -> None:
    """Make the agents, and let them reach the tools of the spawn service."""
    for agent_id in (LEAD, *agents):
        spec = agent_pb2.AgentSpec(instructions="Test.", tools=["spawn/*", "builtin/*"])
        if agent_id == LEAD and lead_limits is not None:
            spec.limits.CopyFrom(lead_limits)
        await house.stubs.agents.CreateAgent(
            agent_service_pb2.CreateAgentRequest(request_id=new_id(), agent_id=agent_id, spec=spec)
        )
    provider = tool_provider_service_pb2.CreateToolProviderRequest(
        request_id=new_id(), provider={"provider_id": "spawn", "grpc_target": spawn_address}
    )
    made = await house.stubs.tool_providers.CreateToolProvider(provider)
    assert made.provider.available, made


@asynccontextmanager
async def met(house: House, runtime_address: str, spawn_address: str) -> AsyncGenerator[Family]:
    """A family whose two services run already."""
    channel = open_channel(ChannelSettings(address=spawn_address))
    try:
        yield Family(house, SpawnServiceStub(channel), ToolServiceStub(channel), runtime_address, spawn_address)
    finally:
        await channel.close()
