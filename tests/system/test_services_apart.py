"""A runtime and a spawn service in processes of their own, for callers with API keys: as docs/identity.md has it."""

import asyncio
import json
import os
import re
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from heddle.common.v1.content_pb2 import ContentPart
from heddle.runtime.v1.agent_pb2 import ToolProvider
from heddle.runtime.v1.agent_runtime_pb2 import StartTurnRequest
from heddle.runtime.v1.run_pb2 import Run, RunState
from heddle.runtime.v1.run_service_pb2 import GetRunRequest, ListRunsRequest, WatchRunRequest
from heddle.runtime.v1.thread_service_pb2 import ListEventsRequest
from heddle.runtime.v1.tool_call_pb2 import ToolCallOutcome
from heddle.runtime.v1.tool_provider_service_pb2 import CreateToolProviderRequest
from heddle.runtime.v1.turn_pb2 import AgentReference, Turn
from heddle_client.stubs import RuntimeStubs
from heddle_grpc.channel import open_channel
from heddle_grpc.settings import ChannelSettings
from tests.kit.cli import ROOT, environment

pytestmark = pytest.mark.timeout(180)

PAGE = (ROOT / "docs" / "identity.md").read_text()
PATIENCE = 60

ALONE = """
turns:
  - when: {user: "^delegate"}
    steps:
      - calls:
          - tool: spawn_agent
            arguments: {agent: writer, task: "say something"}
      - cases:
          - when: {tool_error: true}
            text: "It was refused."
        text: "The child said: {{tool.spawn_agent field result}}"
  - steps:
      - text: "Dry feet."
"""


def block(kind: str) -> str:
    """The code of a kind in the page."""
    (found,) = re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@dataclass
class Place:
    """A folder with the keys of the page, and the services that are started in it."""

    folder: Path
    closing: AsyncExitStack
    runtime: int = field(default_factory=free_port)
    spawn: int = field(default_factory=free_port)
    processes: dict[str, Process] = field(default_factory=dict[str, Process])

    def key(self, name: str) -> str:
        return (self.folder / f"{name}.key").read_text()

    async def said(self, code: str, **variables: str) -> tuple[int, str]:
        """How commands ended, and all that they printed."""
        process = await self._shell(code, variables, PIPE)
        async with asyncio.timeout(PATIENCE):
            out, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, out.decode()

    async def ada(self, command: str) -> tuple[int, str]:
        """How a command of the caller on the page ended."""
        return await self.said(f"heddle {command}", HEDDLE_TOKEN=self.key("ada"))

    async def serve(self, name: str, code: str) -> None:
        """Start a service as the page does, with all that it can log, and wait until it serves."""
        prefix = "HEDDLE_SPAWN_" if name == "spawn" else "HEDDLE_"
        listen = f"127.0.0.1:{getattr(self, name)}"
        variables = {"LISTEN": listen, "LOG_LEVEL": "DEBUG", "LOG_CALLS": "true"}
        with (self.folder / f"{name}.log").open("ab") as log:
            code = code.replace("heddle serve", "exec heddle serve")
            process = await self._shell(code, {f"{prefix}{key}": value for key, value in variables.items()}, log)
        self.closing.push_async_callback(process.wait)
        self.closing.callback(lambda: process.terminate() if process.returncode is None else None)
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            line = await process.stdout.readline()
        assert line, (self.folder / f"{name}.log").read_text()
        assert json.loads(line)["address"] == listen
        self.processes[name] = process

    @asynccontextmanager
    async def calling(self) -> AsyncGenerator[RuntimeStubs]:
        """The runtime, for the caller on the page."""
        token = self.key("ada")
        channel = open_channel(ChannelSettings(address=f"127.0.0.1:{self.runtime}"), token=lambda: token)
        try:
            yield RuntimeStubs.on(channel)
        finally:
            await channel.close()

    async def _shell(self, code: str, variables: dict[str, str], errors: Any) -> Process:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        address = f"127.0.0.1:{self.runtime}"
        spawn = {"HEDDLE_SPAWN_RUNTIME__ADDRESS": address, "HEDDLE_ADDRESS": address}
        return await asyncio.create_subprocess_shell(
            code.replace("127.0.0.1:7234", f"127.0.0.1:{self.spawn}"),
            cwd=self.folder,
            env=environment({"PATH": path, **spawn, **variables}),
            stdout=PIPE,
            stderr=errors if errors is not PIPE else asyncio.subprocess.STDOUT,
        )


@pytest_asyncio.fixture
async def place(tmp_path: Path) -> AsyncGenerator[Place]:
    async with AsyncExitStack() as closing:
        made = Place(tmp_path, closing)
        (tmp_path / "keys.py").write_text(block("python apart"))
        code, told = await made.said(f"{sys.executable} keys.py")
        assert code == 0, told
        yield made


def kept_from_all_others(place: Place) -> None:
    """Asserts that no key stands in a file but its own, and that those of the services are in no environment."""
    keys = {name: place.key(name).encode() for name in ("ada", "runtime", "spawn")}
    files = [file for file in place.folder.rglob("*") if file.is_file() and file.suffix != ".key"]
    assert {"runtime.log", "spawn.log", "heddle.db", "spawn.db"} <= {file.name for file in files}
    assert [(file.name, name) for file in files for name, key in keys.items() if key in file.read_bytes()] == []
    for process in place.processes.values():
        for name in ("environ", "cmdline"):
            seen = Path(f"/proc/{process.pid}/{name}").read_bytes()
            assert keys["runtime"] not in seen
            assert keys["spawn"] not in seen


async def over(stubs: RuntimeStubs, run_id: str) -> Run:
    """The run, once it is over."""
    async with asyncio.timeout(PATIENCE):
        async for _ in stubs.runs.WatchRun(WatchRunRequest(run_id=run_id, end_on_waiting=False)):
            pass
    return (await stubs.runs.GetRun(GetRunRequest(run_id=run_id))).run


async def delegated(stubs: RuntimeStubs, request_id: str) -> Run:
    """A run of the orchestrator, over."""
    agent = AgentReference(agent_id="orchestrator")
    turn = Turn(agent=agent, content=[ContentPart(text="delegate")])
    started = await stubs.agent_runtime.StartTurn(StartTurnRequest(request_id=request_id, turn=turn))
    return await over(stubs, started.run.run_id)


async def test_the_services_of_the_page_know_each_other_and_an_agent_delegates(place: Place) -> None:
    await place.serve("runtime", block("sh apart runtime"))
    await place.serve("spawn", block("sh apart spawn"))
    code, told = await place.said(f"set -e\n{block('sh apart ada')}")
    assert code == 0, told
    async with place.calling() as stubs:
        (lead,) = (await stubs.runs.ListRuns(ListRunsRequest(agent_id="orchestrator"))).runs
        run = await over(stubs, lead.run_id)
        assert run.state == RunState.RUN_STATE_COMPLETED
        assert "Wet rocks, dry feet: the new trail shoes." in run.result.parts[0].text
        children = (await stubs.runs.ListRuns(ListRunsRequest(parent_run_id=run.run_id))).runs
        assert [(each.actor.principal, each.actor.acted_by) for each in children] == [("ada", "ops/spawn")] * 3
    kept_from_all_others(place)


async def test_a_key_that_goes_wrong_is_told_to_the_run_and_mended_without_a_restart(place: Place) -> None:
    (place.folder / "alone.yaml").write_text(ALONE)
    await place.serve("runtime", block("sh apart runtime").replace("scripted:delegate", "scripted:alone.yaml"))
    await place.serve("spawn", block("sh apart spawn"))
    right, file = place.key("runtime"), place.folder / "runtime.key"
    async with place.calling() as stubs:
        spawn = ToolProvider(provider_id="spawn", grpc_target=f"127.0.0.1:{place.spawn}")
        create = CreateToolProviderRequest(request_id="add", provider=spawn)
        assert (await stubs.tool_providers.CreateToolProvider(create)).provider.available
        assert (await delegated(stubs, "first")).result.parts[0].text == "The child said: Dry feet."
        file.write_text(place.key("ada"))  # known there, but not to speak for others
        run = await delegated(stubs, "refused")
        assert run.result.parts[0].text == "It was refused."
        events = (await stubs.threads.ListEvents(ListEventsRequest(thread_id=run.thread_id, page_size=1_000))).events
        (ended,) = [each.tool_call_completed for each in events if each.HasField("tool_call_completed")]
        assert ended.outcome == ToolCallOutcome.TOOL_CALL_OUTCOME_ERROR
        said = json.loads(ended.content[0].json)
        assert said["error"] == "SCOPE_MISSING"
        assert "act_as" in said["message"]
        assert "HEDDLE_TOOLS__CREDENTIALS" in said["message"]
        file.write_text(right)
        assert (await delegated(stubs, "mended")).result.parts[0].text == "The child said: Dry feet."
    kept_from_all_others(place)


def without_credentials(code: str) -> str:
    """The runtime of the page, which names no credential."""
    return "".join(line for line in code.splitlines(keepends=True) if "CREDENTIALS" not in line)


def with_a_key_of_nobody(code: str) -> str:
    """The runtime of the page, whose key the spawn service does not know."""
    return code.replace("runtime.key", "nobody.key")


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        (without_credentials, "asks for a credential, and is shown none: name a credential for 127.0.0.1"),
        (with_a_key_of_nobody, "does not take the credential (unknown or revoked API key)"),
    ],
)
async def test_what_is_missing_or_wrong_is_shown_where_the_provider_is_added_and_by_doctor(
    place: Place, changed: Callable[[str], str], problem: str
) -> None:
    (place.folder / "nobody.key").write_text(place.key("runtime")[:-4] + "AAAA")
    await place.serve("runtime", changed(block("sh apart runtime")))
    await place.serve("spawn", block("sh apart spawn"))
    added = json.loads((await place.ada(f"tools add spawn 127.0.0.1:{place.spawn} --json"))[1])
    assert not added.get("available")
    assert problem in added["problem"]
    assert "HEDDLE_TOOLS__CREDENTIALS" in added["problem"]
    refreshed = json.loads((await place.ada("tools refresh spawn --json"))[1])
    assert refreshed["provider"]["problem"] == added["problem"]
    code, told = await place.ada("doctor --json")
    found = {each["subject"]: each for each in json.loads(told)["findings"]}["tools of spawn"]
    assert (code, found["grade"], found["found"]) == (1, "bad", added["problem"])
    kept_from_all_others(place)


async def test_doctor_says_before_a_start_what_would_stop_it(place: Place) -> None:
    environment_of_page = block("sh apart runtime").replace("heddle serve runtime", "heddle doctor --json")
    _, told = await place.said(environment_of_page)
    found = {each["subject"]: each for each in json.loads(told)["findings"]}
    assert found["tool credentials"]["grade"] == "good"
    (place.folder / "runtime.key").unlink()
    code, told = await place.said(environment_of_page)
    found = {each["subject"]: each for each in json.loads(told)["findings"]}
    assert (code, found["tool credentials"]["grade"]) == (1, "bad")
    assert "runtime.key: No such file" in found["tool credentials"]["found"]
    code, told = await place.said(block("sh apart runtime"))
    assert code != 0
    assert "runtime.key: No such file" in told
