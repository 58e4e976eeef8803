"""`heddle up` for callers with API keys: every service is there, and its own credentials are nowhere to be seen."""

import asyncio
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from heddle.campaign.v1alpha1.campaign_service_pb2 import ListCampaignsRequest
from heddle.campaign.v1alpha1.campaign_service_pb2_grpc import CampaignServiceStub
from heddle.common.v1.content_pb2 import ContentPart
from heddle.runtime.v1.agent_runtime_pb2 import StartTurnRequest
from heddle.runtime.v1.run_pb2 import RunState
from heddle.runtime.v1.run_service_pb2 import GetRunRequest, ListRunsRequest
from heddle.runtime.v1.thread_service_pb2 import ListEventsRequest
from heddle.runtime.v1.turn_pb2 import AgentReference, Turn
from heddle.spawn.v1alpha1 import spawn_pb2, spawn_service_pb2
from heddle.spawn.v1alpha1.spawn_service_pb2_grpc import SpawnServiceStub
from heddle.tools.v1.tool_service_pb2 import CallToolRequest
from heddle.tools.v1.tool_service_pb2_grpc import ToolServiceStub
from heddle_client.stubs import RuntimeStubs
from heddle_core.companion_errors import SpawnNotFound
from heddle_core.errors import CredentialInvalid, ScopeMissing
from heddle_grpc.api_keys import mint
from heddle_grpc.channel import open_channel
from heddle_grpc.process_keys import PREFIX
from heddle_grpc.settings import ChannelSettings
from tests.kit.cli import SCENARIOS, environment

pytestmark = pytest.mark.timeout(120)

SCOPES = ("runtime.read", "runtime.run")
COMPLETED = RunState.RUN_STATE_COMPLETED


@dataclass(frozen=True)
class Served:
    address: str
    pid: int
    said: Path
    """All that it has printed and logged."""
    keys: dict[str, str]
    """By tenant."""
    ended: Callable[[], Awaitable[int]]

    @asynccontextmanager
    async def calling(self, token: str) -> AsyncGenerator[Any]:
        channel = open_channel(ChannelSettings(address=self.address, attempts=1), token=lambda: token)
        try:
            yield channel
        finally:
            await channel.close()


@pytest_asyncio.fixture(name="served")
async def up(tmp_path: Path) -> AsyncGenerator[Served]:
    """Heddle as a process, with all that it can log."""
    folder = tmp_path
    minted = {tenant: mint(tenant, "ada", SCOPES) for tenant in ("acme", "globex")}
    kept, said = folder / "keys.json", folder / "said"
    kept.write_text(json.dumps([record.model_dump(mode="json") for _, record in minted.values()]))
    settings = {
        "HEDDLE_IDENTITY__API_KEYS_FILE": str(kept),
        "HEDDLE_MODELS__SCENARIO_FOLDERS": json.dumps([str(SCENARIOS)]),
        **{f"HEDDLE_{service}LOG_LEVEL": "DEBUG" for service in ("", "SPAWN_", "CAMPAIGN_")},
        **{f"HEDDLE_{service}LOG_CALLS": "true" for service in ("", "SPAWN_", "CAMPAIGN_")},
    }
    command = ("-m", "heddle_cli", "up", "--print-address", "--listen", "127.0.0.1:0", "--data-dir", folder / "data")
    async with AsyncExitStack() as stack:
        with said.open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, *command, "--model", "scripted:delegate"),
                env=environment(settings),
                stdout=asyncio.subprocess.PIPE,
                stderr=errors,
            )
        stack.push_async_callback(process.wait)
        stack.callback(lambda: process.terminate() if process.returncode is None else None)
        assert process.stdout is not None
        async with asyncio.timeout(60):
            line = await process.stdout.readline()
        assert line, said.read_text()
        with said.open("ab") as more:
            more.write(line)
        keys = {name: key for name, (key, _) in minted.items()}
        yield Served(json.loads(line)["address"], process.pid, said, keys, process.wait)


def spawned(key: str) -> spawn_service_pb2.SpawnAgentRequest:
    spec = spawn_pb2.SpawnSpec(spawn_key=key, agent_id="writer", task=[ContentPart(text="the new trail shoes")])
    return spawn_service_pb2.SpawnAgentRequest(request_id=key, spec=spec, wait_seconds=20)


async def delegated(here: Served) -> str:
    """An agent delegates by its tools, and a caller by the RPC; the services act for them. The caller's child."""
    async with here.calling(here.keys["acme"]) as channel:
        runtime, spawn = RuntimeStubs.on(channel), SpawnServiceStub(channel)
        content = [ContentPart(text="Launch: the new trail shoes")]
        turn = Turn(agent=AgentReference(agent_id="orchestrator"), content=content)
        run = (await runtime.agent_runtime.StartTurn(StartTurnRequest(request_id="lead", turn=turn))).run
        events = ListEventsRequest(thread_id=run.thread_id, wait_seconds=20, page_size=1000)
        async with asyncio.timeout(60):
            while run.state not in (COMPLETED, RunState.RUN_STATE_FAILED):
                page = await runtime.threads.ListEvents(events)
                events.after_sequence = page.events[-1].sequence if page.events else events.after_sequence
                run = (await runtime.runs.GetRun(GetRunRequest(run_id=run.run_id))).run
        assert "Wet rocks, dry feet: the new trail shoes." in run.result.parts[0].text
        children = (await runtime.runs.ListRuns(ListRunsRequest(parent_run_id=run.run_id))).runs
        assert [(each.actor.principal, each.actor.acted_by) for each in children] == [("ada", "control/spawn")] * 3
        made = (await spawn.SpawnAgent(spawned("alone"))).spawn
        assert made.state == spawn_pb2.SpawnState.SPAWN_STATE_COMPLETED, made
        return made.spawn_id


def processes_below(pid: int) -> list[int]:
    """A process and all that it has started."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += processes_below(int(child))
    return found


def written_by(here: Served) -> Iterator[tuple[str, bytes]]:
    """All that others could read of the process: its words, its files, and what the system tells of it."""
    yield "output", here.said.read_bytes()
    yield "ps", subprocess.run(["ps", "-eww", "-o", "args"], capture_output=True, check=True).stdout
    for pid in processes_below(here.pid):
        for name in ("cmdline", "environ"):
            yield f"{name} of {pid}", Path(f"/proc/{pid}/{name}").read_bytes()
    for file in here.said.parent.rglob("*"):
        if file.is_file():
            yield str(file), file.read_bytes()


def inside_socket(pid: int) -> Path:
    """Where the parts of the process reach each other."""
    own = set[str]()
    for each in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            own.add(str(each.readlink()))
    sockets = [line.split() for line in Path(f"/proc/{pid}/net/unix").read_text().splitlines()[1:]]
    (found,) = {Path(each[7]) for each in sockets if f"socket:[{each[6]}]" in own and each[-1].endswith("/inside")}
    return found


async def test_with_api_keys_every_service_is_there_for_its_tenants_and_for_nobody_else(served: Served) -> None:
    spawn_id = await delegated(served)
    read = spawn_service_pb2.GetSpawnRequest(spawn_id=spawn_id)
    async with served.calling(served.keys["acme"]) as channel:
        assert not (await CampaignServiceStub(channel).ListCampaigns(ListCampaignsRequest())).campaigns
        assert (await SpawnServiceStub(channel).GetSpawn(read)).spawn.spawn_id == spawn_id
        with pytest.raises(ScopeMissing):
            await ToolServiceStub(channel).CallTool(CallToolRequest(tool="spawn_agent")).read()
    async with served.calling(served.keys["globex"]) as channel:
        with pytest.raises(SpawnNotFound):
            await SpawnServiceStub(channel).GetSpawn(read)
    async with served.calling(f"{PREFIX}{'A' * 43}") as channel:
        with pytest.raises(CredentialInvalid):
            await SpawnServiceStub(channel).GetSpawn(read)


async def test_nobody_can_read_or_use_the_credentials_of_its_parts(served: Served) -> None:
    await delegated(served)
    words = served.said.read_text()
    assert "/heddle.spawn.v1alpha1.SpawnService/SpawnAgent" in words, "calls are logged"
    assert [where for where, text in written_by(served) if PREFIX.encode() in text] == []
    assert [where for where, text in written_by(served) if served.keys["acme"].encode() in text] == []
    folder = inside_socket(served.pid).parent
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    os.kill(served.pid, signal.SIGTERM)
    await served.ended()
    assert not folder.exists()
