"""Runtime, spawn and campaign in processes of their own, on one NATS and on SQLite files or one PostgreSQL."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heddle.campaign.v1alpha1.campaign_service_pb2_grpc import CampaignServiceStub
from heddle.runtime.v1 import agent_pb2, agent_service_pb2, tool_provider_service_pb2
from heddle.runtime.v1.agent_runtime_pb2 import GetSnapshotRequest
from heddle.runtime.v1.snapshot_pb2 import ThreadSnapshot
from heddle.spawn.v1alpha1.spawn_service_pb2_grpc import SpawnServiceStub
from heddle_bus.server import NatsServer
from heddle_client.stubs import RuntimeStubs
from heddle_grpc.channel import open_channel
from heddle_grpc.settings import ChannelSettings
from tests.kit.nats import nats_server
from tests.kit.postgres import shared_server
from tests.kit.running_campaigns import Calls
from tests.kit.running_runtime import new_id
from tests.kit.spawn_process import ServiceProcess


@dataclass
class CampaignStack:
    """Three services that serve."""

    runtime: ServiceProcess
    spawn: ServiceProcess
    campaign: ServiceProcess
    nats: NatsServer
    stubs: RuntimeStubs
    spawns: SpawnServiceStub
    campaigns: Calls

    async def agent(self, agent_id: str, *tools: str) -> None:
        """Make an agent that may use these tools."""
        spec = agent_pb2.AgentSpec(instructions=f"You are {agent_id}.", tools=tools)
        request = agent_service_pb2.CreateAgentRequest(request_id=new_id(), agent_id=agent_id, spec=spec)
        await self.stubs.agents.CreateAgent(request)

    async def snapshot(self, thread_id: str) -> ThreadSnapshot:
        """What chat would show of a thread."""
        return (await self.stubs.agent_runtime.GetSnapshot(GetSnapshotRequest(thread_id=thread_id))).snapshot


@asynccontextmanager
async def campaign_stack(folder: Path, engine: str, runtime: Mapping[str, str]) -> AsyncGenerator[CampaignStack]:
    """Serve all three; `engine` is `sqlite` or `postgres`, `runtime` are more settings of the runtime's."""
    async with AsyncExitStack() as open_:
        nats = await open_.enter_async_context(nats_server(folder / "nats"))
        database = await _database(engine, open_)
        shared = {"NATS": ",".join(nats.endpoint().servers), "LOG_LEVEL": "WARNING", **database}

        async def started(module: str, prefix: str, **settings: str) -> ServiceProcess:
            def variables(address: str) -> dict[str, str]:
                given = {**shared, "DATA_DIR": str(folder / module), "LISTEN": address, **settings}
                return {f"{prefix}{name}": value for name, value in given.items()}

            process = ServiceProcess(module, folder / f"{module}.log", variables)
            open_.push_async_callback(process.kill)
            await process.start()
            return process

        token, small = nats.endpoint().token, {"BUS__BYTES_LIMIT": str(64 * 1024**2)}
        serving = await started("heddle_runtime", "HEDDLE_", BUS__TOKEN=token, **small, **runtime)
        beside = {"NATS_TOKEN": token, "RUNTIME__ADDRESS": serving.address}
        spawn = await started("heddle_spawn", "HEDDLE_SPAWN_", **beside)
        campaign = await started("heddle_campaign", "HEDDLE_CAMPAIGN_", **beside)
        channels = [await _channel(each.address, open_) for each in (serving, spawn, campaign)]
        stubs = RuntimeStubs.on(channels[0])
        for provider, process in (("spawn", spawn), ("campaign", campaign)):
            await stubs.tool_providers.CreateToolProvider(
                tool_provider_service_pb2.CreateToolProviderRequest(
                    request_id=new_id(),
                    provider=agent_pb2.ToolProvider(provider_id=provider, grpc_target=process.address),
                )
            )
        yield CampaignStack(
            serving,
            spawn,
            campaign,
            nats,
            stubs,
            SpawnServiceStub(channels[1]),
            Calls(CampaignServiceStub(channels[2])),
        )


async def _database(engine: str, open_: AsyncExitStack) -> dict[str, str]:
    if engine == "sqlite":
        return {}
    server = shared_server()
    name = await server.create()
    open_.push_async_callback(server.drop, name)
    return {"DATABASE": server.url(name)}


async def _channel(address: str, open_: AsyncExitStack) -> Any:
    channel = open_channel(ChannelSettings(address=address))
    open_.push_async_callback(channel.close)
    return channel
