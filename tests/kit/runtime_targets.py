"""The implementations of the facade that the contract suite is run on. To add one, add a line to TARGETS."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from heddle_client.fake import FakeRuntime
from heddle_client.fake_script import Call, Exchange, Reply, Script
from heddle_client.over_grpc import connect
from heddle_client.port import AgentRuntime
from tests.kit.runtime_script import serving

ROOT = Path(__file__).parents[2]

Target = Callable[[Path, Path], AbstractAsyncContextManager[AgentRuntime]]
"""From a scenario file and an empty folder: a runtime without threads."""


@asynccontextmanager
async def fake(scenario: Path, folder: Path) -> AsyncGenerator[AgentRuntime]:
    """The fake, called directly."""
    yield FakeRuntime(script_in(scenario))


@asynccontextmanager
async def fake_over_grpc(scenario: Path, folder: Path) -> AsyncGenerator[AgentRuntime]:
    """The client over gRPC, and behind it the fake."""
    async with (
        serving(FakeRuntime(script_in(scenario))) as (address, _),
        connect(address) as runtime,
    ):
        yield runtime


@asynccontextmanager
async def process(scenario: Path, folder: Path) -> AsyncGenerator[AgentRuntime]:
    """The client over gRPC, and behind it a runtime in a process of its own."""
    paths = os.pathsep.join([str(ROOT / "libs"), str(ROOT / "services")])
    settings = {
        "HEDDLE_DATA_DIR": str(folder),
        "HEDDLE_LISTEN": "127.0.0.1:0",
        "HEDDLE_MODEL": f"scripted:{scenario}",
    }
    server = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "heddle_runtime",
        env={**os.environ, **settings, "PYTHONPATH": paths},
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert server.stdout is not None
        async with asyncio.timeout(30):
            line = await server.stdout.readline()
        async with connect(json.loads(line)["address"]) as runtime:
            yield runtime
    finally:
        if server.returncode is None:
            server.terminate()
        await server.communicate()


TARGETS: dict[str, Target] = {"fake": fake, "fake over gRPC": fake_over_grpc, "process": process}


def script_in(scenario: Path) -> Script:
    """What a scenario file says, as a script of the fake: texts, calls and a hang."""
    turns: list[dict[str, Any]] = yaml.safe_load(scenario.read_text())["turns"]

    def choose(exchange: Exchange) -> Reply:
        for turn in turns:
            if turn.get("when", {}).get("user", "") in exchange.said:
                steps = turn["steps"]
                return reply(steps[min(exchange.step, len(steps) - 1)], exchange)
        raise AssertionError(f"no turn fits {exchange.said!r}")

    return choose


def reply(step: dict[str, Any], exchange: Exchange) -> Reply:
    text = step.get("text", "").replace("{{user}}", exchange.said)
    if exchange.results:
        text = text.replace("{{tool.look}}", exchange.results[-1])
    calls = tuple(
        Call(each["tool"], json.dumps(each["arguments"], separators=(",", ":"))) for each in step.get("calls", ())
    )
    return Reply(text, calls=calls, holds=step.get("fault", {}).get("kind") == "hang")
