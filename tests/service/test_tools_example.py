"""The example in the README, as a reader would run it."""

import asyncio
import sys
from pathlib import Path

from heddle_core.clock import SystemClock
from heddle_grpc.settings import ChannelSettings
from heddle_runtime.runs.content import Text
from heddle_runtime.tools.grpc_provider import connect
from heddle_runtime.tools.port import ToolReply
from heddle_runtime.tools.registry import Registry
from heddle_runtime.tools.schema import Schemas
from tests.kit.tool_servers import invocation_of

CLOCK = SystemClock()


async def test_the_example_server_is_a_provider() -> None:
    example = Path(__file__).parents[2] / "examples" / "tools" / "lookup.py"
    libs = Path(__file__).parents[2] / "libs"
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(example), "127.0.0.1:0", stdout=asyncio.subprocess.PIPE, env={"PYTHONPATH": str(libs)}
    )
    try:
        assert process.stdout is not None
        port = int((await process.stdout.readline()).split()[-1])
        provider = connect("kit", ChannelSettings(address=f"127.0.0.1:{port}"), clock=CLOCK)
        try:
            registry = Registry(clock=CLOCK, schemas=Schemas(CLOCK))
            registry.add(provider)
            await registry.load()
            assert registry.enrolment("kit").problem == ""
            (spec,) = registry.tools()
            invocation = invocation_of(spec, '{"word": "Heddle"}')
            events = [event async for event in provider.call(invocation)]
            assert events == [ToolReply(True, (Text("guides one thread through its own lane"),))]
        finally:
            await provider.close()
    finally:
        process.terminate()
        await process.wait()
