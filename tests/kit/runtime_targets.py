"""The implementations of the facade that the contract suite is run on. To add one, add a line to TARGETS."""

import asyncio
import atexit
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from heddle_client.fake import FakeRuntime
from heddle_client.fake_script import Call, Exchange, Reply, Script
from heddle_client.over_grpc import connect
from heddle_client.port import AgentRuntime
from tests.kit.forked_runtime import ServerProcess, Zygote
from tests.kit.runtime_script import serving

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
    server = ServerProcess(_zygote(), folder, {"MODEL": f"scripted:{scenario}"})
    await server.start()
    try:
        async with connect(server.address) as runtime:
            yield runtime
    finally:
        await asyncio.to_thread(server.stop)


@cache
def _zygote() -> Zygote:
    """One for all tests of this process, and gone with it."""
    zygote = Zygote()
    atexit.register(zygote.close)
    return zygote


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
