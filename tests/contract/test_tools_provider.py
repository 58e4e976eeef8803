"""What every provider of tools must do, held against those that there are."""

import asyncio
import itertools
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

import grpc
import pytest

from heddle.tools.v1.tool_service_pb2 import CallToolResponse
from heddle_core.clock import ManualClock, SystemClock
from heddle_grpc.settings import ChannelSettings
from heddle_runtime.runs.content import plain_text
from heddle_runtime.runs.stop import Stop
from heddle_runtime.tools.builtin.provider import BuiltinProvider
from heddle_runtime.tools.builtin.tool import PROVIDER_ID, Arguments, said, schema_of
from heddle_runtime.tools.executor import Executor
from heddle_runtime.tools.grpc_provider import connect
from heddle_runtime.tools.outcomes import Failed, Replied, Stopped
from heddle_runtime.tools.port import (
    RiskClass,
    ToolEnd,
    ToolFault,
    ToolFaultKind,
    ToolInvocation,
    ToolProgress,
    ToolProvider,
    ToolReply,
    ToolSpec,
)
from heddle_runtime.tools.registry import Registry
from heddle_runtime.tools.renewed_provider import RenewedProvider
from heddle_runtime.tools.schema import Schemas
from tests.kit.tool_servers import (
    ToolServer,
    Visit,
    declared,
    hangs,
    invocation_of,
    read_only,
    result,
    serving,
    spec_of,
)

SCHEMA = schema_of({"word": {"type": "string"}}, required=("word",))


@dataclass
class Subject:
    """A provider with tools `echo` (reads), `fail` (writes, answers an error) and `wait` (writes, never ends)."""

    provider: ToolProvider
    waiting: asyncio.Event
    """Set when `wait` has begun."""
    ended: asyncio.Event
    """Set when `wait` has noticed that it should stop."""


class Echo:
    spec = ToolSpec(PROVIDER_ID, "echo", "Does echo.", SCHEMA, RiskClass.READ, read_only=True)

    async def perform(self, arguments: Arguments, invocation: ToolInvocation) -> ToolEnd:
        return said(arguments["word"])


class Fail:
    spec = spec_of("fail", PROVIDER_ID)

    async def perform(self, arguments: Arguments, invocation: ToolInvocation) -> ToolEnd:
        return ToolReply(False, said("no stock").content)


class Wait:
    spec = spec_of("wait", PROVIDER_ID)

    def __init__(self, begun: asyncio.Event, ended: asyncio.Event) -> None:
        self._begun = begun
        self._ended = ended

    async def perform(self, arguments: Arguments, invocation: ToolInvocation) -> ToolEnd:
        self._begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self._ended.set()
        raise AssertionError("it waits for ever")


async def builtin() -> AsyncIterator[Subject]:
    begun, ended = asyncio.Event(), asyncio.Event()
    provider = BuiltinProvider([Echo(), Fail(), Wait(begun, ended)], schemas=Schemas(SystemClock()))
    yield Subject(provider, begun, ended)
    await provider.close()


async def over_grpc() -> AsyncIterator[Subject]:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def echo(visit: Visit) -> AsyncGenerator[CallToolResponse, None]:
        arguments = json.loads(visit.request.arguments_json)
        if "word" not in arguments:
            await visit.context.abort(grpc.StatusCode.INVALID_ARGUMENT, "word is missing")
        yield result(arguments["word"])

    async def fail(visit: Visit) -> AsyncGenerator[CallToolResponse, None]:
        yield result("no stock", ok=False)

    async def wait(visit: Visit) -> AsyncGenerator[CallToolResponse, None]:
        begun.set()
        try:
            async for response in hangs()(visit):
                yield response
        finally:
            ended.set()

    server = ToolServer()
    server.offer(read_only("echo", parameters_json=SCHEMA), echo)
    server.offer(declared("fail"), fail)
    server.offer(declared("wait"), wait)
    async with serving(server):
        provider = connect("remote", ChannelSettings(address=server.address), clock=SystemClock())
        yield Subject(provider, begun, ended)
        await provider.close()


async def renewed() -> AsyncIterator[Subject]:
    """The same over gRPC, opened with what stands in files: each look at them finds something else."""
    looks = itertools.count()
    async for subject in over_grpc():
        lent = Lent(subject.provider)
        subject.provider = RenewedProvider(lent.provider_id, lambda: next(looks), lent.again)
        yield subject
        await subject.provider.close()


class Lent:
    """Another's provider, that stays open when this is closed."""

    def __init__(self, provider: ToolProvider) -> None:
        self.provider_id, self.confirms_stop = provider.provider_id, provider.confirms_stop
        self.list_tools, self.call = provider.list_tools, provider.call

    def again(self, look: int) -> ToolProvider:
        """What is opened at each look."""
        return self

    async def close(self) -> None:
        """Nothing is its own."""


@pytest.fixture(params=[builtin, over_grpc, renewed], ids=["builtin", "grpc", "renewed"])
async def subject(request: pytest.FixtureRequest) -> AsyncIterator[Subject]:
    async for each in request.param():
        yield each


async def tool(subject: Subject, name: str) -> ToolSpec:
    return next(spec for spec in await subject.provider.list_tools() if spec.name == name)


async def test_its_tools_are_accepted_by_the_registry(subject: Subject) -> None:
    clock = ManualClock()
    registry = Registry(clock=clock, schemas=Schemas(clock))
    registry.add(subject.provider)
    await registry.load()
    assert registry.enrolment(subject.provider.provider_id).problem == ""
    assert [spec.name for spec in registry.tools()] == ["echo", "fail", "wait"]


async def test_listing_twice_gives_the_same(subject: Subject) -> None:
    first, second = await subject.provider.list_tools(), await subject.provider.list_tools()
    assert first == second
    assert {spec.provider_id for spec in first} == {subject.provider.provider_id}


async def test_a_call_ends_with_exactly_one_end(subject: Subject) -> None:
    invocation = invocation_of(await tool(subject, "echo"), '{"word": "grüß"}')
    events = [event async for event in subject.provider.call(invocation)]
    *before, last = events
    assert all(isinstance(event, ToolProgress) for event in before)
    assert isinstance(last, ToolReply)
    assert (last.ok, plain_text(last.content)) == (True, "grüß")


async def test_an_error_of_the_tool_is_a_reply(subject: Subject) -> None:
    events = [event async for event in subject.provider.call(invocation_of(await tool(subject, "fail")))]
    assert [isinstance(event, ToolReply) and not event.ok for event in events] == [True]


async def test_arguments_that_do_not_fit_are_refused(subject: Subject) -> None:
    with pytest.raises(ToolFault) as raised:
        async for _ in subject.provider.call(invocation_of(await tool(subject, "echo"), "{}")):
            pass
    assert raised.value.kind is ToolFaultKind.REFUSED
    assert "word" in raised.value.message


async def test_a_call_that_is_cancelled_tells_the_tool(subject: Subject) -> None:
    spec = await tool(subject, "wait")

    async def read() -> None:
        async with aclosing(subject.provider.call(invocation_of(spec))) as events:
            async for _ in events:
                pass

    reading = asyncio.ensure_future(read())
    await subject.waiting.wait()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await subject.ended.wait()


async def test_the_executor_stops_it_and_says_what_it_knows(subject: Subject) -> None:
    stop = Stop()
    spec = await tool(subject, "wait")
    async with asyncio.TaskGroup() as group:
        performing = group.create_task(
            Executor(clock=SystemClock()).perform(
                subject.provider, invocation_of(spec), report=lambda _: None, stop=stop
            )
        )
        await subject.waiting.wait()
        stop.set()
    assert performing.result() == Stopped(confirmed=subject.provider.confirms_stop)
    await subject.ended.wait()


async def test_many_calls_at_once_do_not_mix(subject: Subject) -> None:
    spec = await tool(subject, "echo")
    executor = Executor(clock=SystemClock())

    async def one(word: str) -> str:
        invocation = invocation_of(spec, f'{{"word": "{word}"}}')
        outcome = await executor.perform(subject.provider, invocation, report=lambda _: None, stop=Stop())
        assert isinstance(outcome, Replied)
        return plain_text(outcome.reply.content)

    words = [f"w{i}" for i in range(20)]
    assert await asyncio.gather(*(one(word) for word in words)) == words


async def test_a_tool_that_is_not_there_is_refused_or_a_doubt_and_never_a_reply(subject: Subject) -> None:
    gone = spec_of("gone", subject.provider.provider_id)
    outcome = await Executor(clock=SystemClock()).perform(
        subject.provider, invocation_of(gone), report=lambda _: None, stop=Stop()
    )
    assert not isinstance(outcome, Replied)
    assert isinstance(outcome, Failed) or not subject.provider.confirms_stop
