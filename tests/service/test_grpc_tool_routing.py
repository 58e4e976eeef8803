"""Several providers of tools on one port: each is reached under its own id, and what does not fit does not start."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from heddle.runtime.v1.tool_provider_service_pb2 import ListToolsRequest
from heddle.tools.v1 import tool_service_pb2 as pb
from heddle.tools.v1.tool_service_pb2_grpc import ToolServiceStub
from heddle_client.stubs import RuntimeStubs
from heddle_core.clock import SystemClock
from heddle_core.errors import CannotServe, InvalidField
from heddle_core.ids import CountingIds
from heddle_core.runtime_errors import ToolProviderNotFound
from heddle_grpc.authorization import Access, Rule
from heddle_grpc.channel import Channel, open_channel
from heddle_grpc.companions import Companion, OpenCompanion, WayIn
from heddle_grpc.drain import Drain
from heddle_grpc.identity import Development
from heddle_grpc.routes import Service
from heddle_grpc.server import Server
from heddle_grpc.settings import ChannelSettings
from heddle_grpc.tool_routing import TOOL_PROVIDER_KEY, TOOL_SERVICE, services_of
from heddle_runtime.runs.content import Text
from heddle_runtime.settings import RuntimeSettings
from heddle_runtime.tools.grpc_provider import connect
from heddle_runtime.tools.port import ToolReply
from heddle_runtime.wiring.runtime import running_runtime
from tests.kit.grpc_probe import SOMEBODY, local
from tests.kit.tool_servers import declared, invocation_of, result

RULES: Mapping[str, Rule] = {"ListTools": Access.ANYBODY_KNOWN, "CallTool": Access.ANYBODY_KNOWN}


class Tools:
    """One tool, `tell`, which tells whose it is."""

    def __init__(self, owner: str) -> None:
        self.owner = owner

    async def ListTools(self, request: pb.ListToolsRequest, context: Any) -> pb.ListToolsResponse:
        return pb.ListToolsResponse(tools=[declared("tell", description=f"of {self.owner}")])

    async def CallTool(self, request: pb.CallToolRequest, context: Any) -> AsyncGenerator[pb.CallToolResponse, None]:
        yield result(f"I am {self.owner}")


@asynccontextmanager
async def idle() -> AsyncIterator[None]:
    yield


def companion(provider_id: str, *, rules: Mapping[str, Rule] = RULES, tools: bool = True) -> Companion:
    services = (Service(TOOL_SERVICE, Tools(provider_id), rules),) if tools else ()
    return Companion(services, idle, tool_provider=provider_id)


@asynccontextmanager
async def port(*companions: Companion) -> AsyncIterator[str]:
    """A server of these companions; its address."""
    services = services_of(companions)
    server = Server(local(), services, authenticators=[Development(SOMEBODY)], ids=CountingIds())
    async with server.running():
        yield f"127.0.0.1:{server.ports[0]}"


@asynccontextmanager
async def reaching(address: str) -> AsyncIterator[Channel]:
    channel = open_channel(ChannelSettings.model_validate({"address": address, "attempts": 1}))
    async with channel:
        yield channel


async def test_each_provider_lists_and_performs_its_own_tool_of_the_same_name() -> None:
    async with port(companion("left"), companion("right")) as address:
        for provider_id in ("left", "right"):
            provider = connect(provider_id, ChannelSettings(address=address), clock=SystemClock())
            try:
                (spec,) = await provider.list_tools()
                assert spec.description == f"of {provider_id}"
                events = [event async for event in provider.call(invocation_of(spec))]
                assert events == [ToolReply(True, (Text(f"I am {provider_id}"),))]
            finally:
                await provider.close()


async def test_a_caller_that_names_no_provider_reaches_the_only_one() -> None:
    async with port(companion("left")) as address, reaching(address) as channel:
        listed = await ToolServiceStub(channel).ListTools(pb.ListToolsRequest())
        assert [tool.description for tool in listed.tools] == ["of left"]


async def test_a_caller_that_names_none_of_several_is_told_which_there_are() -> None:
    async with port(companion("right"), companion("left")) as address, reaching(address) as channel:
        with pytest.raises(InvalidField, match="is served here: left, right"):
            await ToolServiceStub(channel).ListTools(pb.ListToolsRequest())


async def test_a_caller_that_names_two_is_refused() -> None:
    twice = ((TOOL_PROVIDER_KEY, "left"), (TOOL_PROVIDER_KEY, "right"))
    async with port(companion("left"), companion("right")) as address, reaching(address) as channel:
        with pytest.raises(InvalidField, match="send it once"):
            await ToolServiceStub(channel).ListTools(pb.ListToolsRequest(), metadata=twice)


async def test_a_provider_that_is_not_served_here_is_not_found_for_lists_and_calls() -> None:
    stranger = ((TOOL_PROVIDER_KEY, "stranger"),)
    async with port(companion("left")) as address, reaching(address) as channel:
        stub = ToolServiceStub(channel)
        with pytest.raises(ToolProviderNotFound, match="stranger"):
            await stub.ListTools(pb.ListToolsRequest(), metadata=stranger)
        request = pb.CallToolRequest(tool="tell", idempotency_key="k1")
        with pytest.raises(ToolProviderNotFound, match="stranger"):
            await anext(aiter(stub.CallTool(request, metadata=stranger)))


async def test_a_caller_that_hangs_up_ends_the_call_of_the_provider_behind() -> None:
    ended = asyncio.Event()

    class Slow(Tools):
        async def CallTool(
            self, request: pb.CallToolRequest, context: Any
        ) -> AsyncGenerator[pb.CallToolResponse, None]:
            try:
                yield pb.CallToolResponse(progress=pb.ToolProgress(fraction=0.5))
                await asyncio.Event().wait()
            finally:
                ended.set()

    slow = Companion((Service(TOOL_SERVICE, Slow("slow"), RULES),), idle, tool_provider="slow")
    named = ((TOOL_PROVIDER_KEY, "slow"),)
    async with port(slow, companion("left")) as address, reaching(address) as channel, asyncio.timeout(10):
        call = ToolServiceStub(channel).CallTool(pb.CallToolRequest(tool="x", idempotency_key="k1"), metadata=named)
        await anext(aiter(call))
        call.cancel()
        await ended.wait()


@pytest.mark.parametrize(
    ("companions", "problem"),
    [
        ((companion("left"), companion("left")), "two companions call themselves left"),
        ((companion("left", tools=False),), "provider 'left' brings 0"),
        ((companion(""),), "provider '' brings 1"),
        ((companion("left"), companion("right", rules={**RULES, "CallTool": "act_as"})), "different scopes"),
    ],
)
def test_companions_that_do_not_fit_together_are_refused(companions: tuple[Companion, ...], problem: str) -> None:
    with pytest.raises(CannotServe, match=problem):
        services_of(companions)


def test_companions_without_tools_bring_no_tool_service() -> None:
    own = Service("some.Other", object(), {})
    assert services_of((Companion((own,), idle),)) == (own,)


async def test_a_runtime_knows_the_tools_of_every_companion_under_its_own_id(tmp_path: Path) -> None:
    def opening(provider_id: str) -> OpenCompanion:
        @asynccontextmanager
        async def opened(drain: Drain, way: WayIn) -> AsyncIterator[Companion]:
            yield companion(provider_id)

        return opened

    settings = RuntimeSettings(data_dir=tmp_path, listen="127.0.0.1:0", model="scripted:hello")
    async with AsyncExitStack() as stack:
        runtime = await stack.enter_async_context(
            running_runtime(settings, companions=(opening("left"), opening("right")))
        )
        channel: grpc.aio.Channel = await stack.enter_async_context(reaching(runtime.address))
        listed = await RuntimeStubs.on(channel).tool_providers.ListTools(ListToolsRequest(page_size=100))
    found = {(each.provider_id, each.tool.description) for each in listed.tools if each.tool.name == "tell"}
    assert found == {("left", "of left"), ("right", "of right")}
