"""Tools behind a real gRPC server: what is passed on, and what each way of failing means."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money

from heddle.common.v1.content_pb2 import AssetReference as AssetMessage
from heddle.common.v1.content_pb2 import ContentPart
from heddle.common.v1.content_pb2 import InlineData as InlineMessage
from heddle.tools.v1 import tool_pb2, tool_service_pb2
from heddle_core.clock import SystemClock
from heddle_core.usage import MicroUsd
from heddle_grpc.channel import open_channel
from heddle_grpc.settings import ChannelSettings
from heddle_runtime.runs.content import AssetReference, InlineData, Json, Text
from heddle_runtime.runs.stop import Stop
from heddle_runtime.tools.executor import Executor
from heddle_runtime.tools.grpc_provider import GrpcToolProvider, Remedies, connect
from heddle_runtime.tools.outcomes import Deferred, Failed, InDoubt, Outcome, Replied, Stopped, TimedOut
from heddle_runtime.tools.port import (
    NO_ARGUMENTS,
    RiskClass,
    ToolDeferral,
    ToolEvent,
    ToolFault,
    ToolFaultKind,
    ToolProgress,
    ToolReply,
    ToolSpec,
)
from heddle_runtime.tools.registry import Registry
from heddle_runtime.tools.schema import Schemas
from tests.kit.tool_servers import (
    Behaviour,
    ToolServer,
    aborts,
    breaks,
    declared,
    deferral,
    hangs,
    invocation_of,
    progress,
    read_only,
    result,
    says,
    serving,
)

CLOCK = SystemClock()
DONE = ToolReply(True, (Text("done"),))


@asynccontextmanager
async def provider_of(address: str) -> AsyncIterator[GrpcToolProvider]:
    provider = connect("kit", ChannelSettings(address=address), clock=CLOCK)
    try:
        yield provider
    finally:
        await provider.close()


@asynccontextmanager
async def offering(
    behaviour: Behaviour, tool: tool_pb2.Tool | None = None
) -> AsyncIterator[tuple[ToolServer, GrpcToolProvider, ToolSpec]]:
    """A server with one tool, a provider for it, and the tool as it lists it."""
    async with serving(ToolServer()) as server:
        server.offer(tool or declared("act"), behaviour)
        async with provider_of(server.address) as provider:
            (spec,) = await provider.list_tools()
            yield server, provider, spec


async def outcome(provider: GrpcToolProvider, spec: ToolSpec, *, within: timedelta = timedelta(seconds=20)) -> Outcome:
    invocation = invocation_of(spec, within=within)
    return await Executor(clock=CLOCK).perform(provider, invocation, report=lambda _: None, stop=Stop())


async def events_of(provider: GrpcToolProvider, spec: ToolSpec) -> list[ToolEvent]:
    return [event async for event in provider.call(invocation_of(spec))]


async def fault_of(provider: GrpcToolProvider, spec: ToolSpec) -> ToolFault:
    with pytest.raises(ToolFault) as raised:
        await events_of(provider, spec)
    return raised.value


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# --- listing ---------------------------------------------------------------------------------------------


async def test_a_tool_is_listed_as_it_is_declared() -> None:
    tool = tool_pb2.Tool(
        name="buy",
        description="Buys.",
        parameters_json='{"type":"object"}',
        risk=tool_pb2.RISK_CLASS_SPEND,
        idempotent=True,
        needs_approval=True,
        deadline=Duration(seconds=5, nanos=500_000_000),
        price=Money(currency_code="USD", units=1, nanos=1),
        category="shop",
    )
    async with offering(says(result()), tool) as (_, _, spec):
        assert spec == ToolSpec(
            provider_id="kit",
            name="buy",
            description="Buys.",
            parameters_json='{"type":"object"}',
            risk=RiskClass.SPEND,
            idempotent=True,
            needs_approval=True,
            deadline=timedelta(seconds=5.5),
            price=MicroUsd(1_000_001),
            category="shop",
        )


async def test_what_a_tool_does_not_declare_is_taken_carefully() -> None:
    async with offering(says(result())) as (_, _, spec):
        assert (spec.risk, spec.read_only, spec.idempotent) == (RiskClass.WRITE, False, False)
        assert (spec.parameters_json, spec.deadline) == (NO_ARGUMENTS, timedelta(seconds=60))


async def test_all_pages_are_listed() -> None:
    server = ToolServer([declared(f"t{i}") for i in range(23)], page_size=5)
    async with serving(server), provider_of(server.address) as provider:
        assert [spec.name for spec in await provider.list_tools()] == [f"t{i}" for i in range(23)]


async def test_pages_without_an_end_are_refused() -> None:
    async with serving(ToolServer(endless_pages=True)) as server, provider_of(server.address) as provider:
        with pytest.raises(ToolFault, match="more than 100 pages"):
            await provider.list_tools()


@pytest.mark.parametrize(
    ("tool", "words"),
    [
        (declared("act", risk=99), "risk class 99"),
        (declared("act", price=Money(currency_code="EUR", units=1)), "another currency"),
        (declared("act", deadline=Duration(seconds=315_576_000_000)), "between 1 s and 1 h"),
        (declared("act", parameters_json="[]"), "must be a JSON object"),
        (declared("a b"), "a name is"),
        (declared("act", read_only=True), "read-only and of risk WRITE"),
    ],
)
async def test_a_provider_that_misdeclares_is_marked_with_its_problem(tool: tool_pb2.Tool, words: str) -> None:
    async with serving(ToolServer([tool])) as server, provider_of(server.address) as provider:
        registry = Registry(clock=CLOCK, schemas=Schemas(CLOCK))
        registry.add(provider)
        await registry.load()
        assert words in registry.enrolment("kit").problem
        assert registry.tools() == ()


async def test_a_server_that_comes_up_later_is_found() -> None:
    port = free_port()
    async with provider_of(f"127.0.0.1:{port}") as provider:
        registry = Registry(clock=CLOCK, schemas=Schemas(CLOCK))
        registry.add(provider)
        await registry.load()
        assert "does not answer" in registry.enrolment("kit").problem
        async with serving(ToolServer([declared("act")]), address=f"127.0.0.1:{port}"):
            await registry.refresh("kit")
            assert registry.enrolment("kit").available


# --- calling ---------------------------------------------------------------------------------------------


async def test_the_call_carries_key_arguments_context_and_deadline() -> None:
    async with offering(says(result())) as (server, provider, spec):
        invocation = invocation_of(spec, '{"a": 1}', within=timedelta(seconds=9), dry_run=True)
        assert [event async for event in provider.call(invocation)] == [DONE]
        visit = server.visits[0]
        seconds, micros = divmod(invocation.context.deadline, 1_000_000)
        assert visit.request == tool_service_pb2.CallToolRequest(
            tool="act",
            arguments_json='{"a": 1}',
            idempotency_key="key_1",
            dry_run=True,
            context=tool_service_pb2.CallContext(
                tenant="acme",
                principal="ada",
                thread_id="thread_1",
                run_id="run_1",
                call_id="call_1",
                fence=7,
                deadline=Timestamp(seconds=seconds, nanos=micros * 1000),
                input_id="input_1",
                resolution_token="secret",
            ),
        )
        assert visit.seconds_left is not None
        assert 5 < visit.seconds_left <= 9.5


async def test_progress_and_every_kind_of_content_arrive() -> None:
    said = tool_service_pb2.ToolResult(
        outcome=tool_service_pb2.TOOL_OUTCOME_OK,
        content=[
            ContentPart(text="a"),
            ContentPart(json="{}"),
            ContentPart(inline_data=InlineMessage(media_type="image/png", data=b"x", name="n")),
            ContentPart(asset=AssetMessage(asset_id="asset_1", media_type="image/png", name="m")),
            ContentPart(),
        ],
        ui_blocks_json=['{"type":"alert"}'],
        cost=Money(currency_code="USD", nanos=2_500_000),
        next_actions=["look"],
    )
    response = tool_service_pb2.CallToolResponse(result=said)
    async with offering(says(progress(0.5, "half"), response)) as (_, provider, spec):
        assert await events_of(provider, spec) == [
            ToolProgress(0.5, "half"),
            ToolReply(
                True,
                (
                    Text("a"),
                    Json("{}"),
                    InlineData("image/png", b"x", "n"),
                    AssetReference("asset_1", "image/png", "m"),
                ),
                ('{"type":"alert"}',),
                MicroUsd(2500),
                ("look",),
            ),
        ]


async def test_a_cost_in_another_currency_leaves_the_declared_price() -> None:
    said = tool_service_pb2.ToolResult(outcome=1, cost=Money(currency_code="EUR", units=1))
    async with offering(says(tool_service_pb2.CallToolResponse(result=said))) as (_, provider, spec):
        assert await events_of(provider, spec) == [ToolReply(True)]


async def test_an_outcome_that_is_not_said_is_an_error() -> None:
    response = tool_service_pb2.CallToolResponse(result=tool_service_pb2.ToolResult())
    async with offering(says(response)) as (_, provider, spec):
        assert await events_of(provider, spec) == [ToolReply(False)]


async def test_a_deferral_arrives_with_its_time() -> None:
    later = deferral("tomorrow")
    later.deferral.expire_time.CopyFrom(Timestamp(seconds=1_800_000_000, nanos=5_000))
    async with offering(says(later)) as (_, provider, spec):
        expected = ToolDeferral("tomorrow", 1_800_000_000_000_005)
        assert await events_of(provider, spec) == [expected]
        assert await outcome(provider, spec) == Deferred(expected)


# --- failing ---------------------------------------------------------------------------------------------


async def test_a_refused_connection_is_not_sent() -> None:
    async with provider_of(f"127.0.0.1:{free_port()}") as provider:
        spec = ToolSpec("kit", "act", "Acts.")
        assert (await fault_of(provider, spec)).kind is ToolFaultKind.NOT_SENT
        assert isinstance(await outcome(provider, spec), Failed)


async def test_a_server_that_is_known_to_be_gone_before_the_next_call_is_not_sent() -> None:
    async with serving(ToolServer()) as server:
        server.offer(declared("act"), says(result()))
        channel = open_channel(ChannelSettings(address=server.address, attempts=1))
        provider = GrpcToolProvider("kit", channel, clock=CLOCK, token=None, remedies=Remedies())
        (spec,) = await provider.list_tools()
        assert await outcome(provider, spec) == Replied(DONE)
        assert server.stop is not None
        await server.stop()
        # A call that passes the news of the server's end is in doubt: whether it left is not told.
        await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
        assert isinstance(await outcome(provider, spec), Failed)
        await provider.close()


@pytest.mark.parametrize("sent", [[], [progress(0.5)]])
async def test_a_server_that_dies_in_the_middle_leaves_a_doubt(sent: list[tool_service_pb2.CallToolResponse]) -> None:
    async with offering(hangs(*sent)) as (server, provider, spec):
        async with asyncio.TaskGroup() as group:
            performing = group.create_task(outcome(provider, spec))
            await server.visited()
            assert server.stop is not None
            await server.stop()
        assert isinstance(performing.result(), InDoubt)
        assert len(server.visits) == 1


REFUSALS = [
    "INVALID_ARGUMENT",
    "NOT_FOUND",
    "PERMISSION_DENIED",
    "UNAUTHENTICATED",
    "UNIMPLEMENTED",
    "FAILED_PRECONDITION",
    "OUT_OF_RANGE",
]
DOUBTS = [
    "UNAVAILABLE",
    "INTERNAL",
    "UNKNOWN",
    "ABORTED",
    "DATA_LOSS",
    "DEADLINE_EXCEEDED",
    "RESOURCE_EXHAUSTED",
    "CANCELLED",
    "ALREADY_EXISTS",
]


@pytest.mark.parametrize("code", REFUSALS)
async def test_a_refusal_is_one_before_the_first_word_and_a_doubt_after(code: str) -> None:
    async with offering(aborts(grpc.StatusCode[code])) as (_, provider, spec):
        assert (await fault_of(provider, spec)).kind is ToolFaultKind.REFUSED
    async with offering(aborts(grpc.StatusCode[code], progress(0.1))) as (_, provider, spec):
        assert (await fault_of(provider, spec)).kind is ToolFaultKind.IN_DOUBT


@pytest.mark.parametrize("code", DOUBTS)
async def test_every_other_status_is_a_doubt_and_is_not_tried_again(code: str) -> None:
    behaviour = aborts(grpc.StatusCode[code], details="failed to connect to all addresses")
    async with offering(behaviour) as (server, provider, spec):
        assert (await fault_of(provider, spec)).kind is ToolFaultKind.IN_DOUBT
        assert len(server.visits) == 1


@pytest.mark.parametrize(
    "behaviour",
    [
        breaks(),
        breaks(progress(0.1)),
        says(),
        says(progress(1.0)),
        says(result("a"), result("b")),
        says(deferral(), result()),
    ],
    ids=["bug", "bug later", "nothing", "progress only", "two results", "a result after an end"],
)
async def test_a_server_that_breaks_the_contract_leaves_a_doubt_if_it_writes(behaviour: Behaviour) -> None:
    async with offering(behaviour) as (_, provider, spec):
        assert isinstance(await outcome(provider, spec), InDoubt)
    async with offering(behaviour, read_only("look")) as (_, provider, spec):
        assert isinstance(await outcome(provider, spec), Failed)


async def test_a_slow_tool_is_given_up_at_the_deadline_and_told_so() -> None:
    soon = timedelta(milliseconds=300)
    async with offering(hangs(progress(0.1))) as (server, provider, spec):
        assert isinstance(await outcome(provider, spec, within=soon), InDoubt)
        await (await server.visited()).stopped.wait()
    async with offering(hangs(), read_only("look")) as (server, provider, spec):
        assert isinstance(await outcome(provider, spec, within=soon), TimedOut)


async def test_a_stop_reaches_the_server_but_is_not_confirmed_by_it() -> None:
    async with offering(hangs()) as (server, provider, spec):
        stop = Stop()
        async with asyncio.TaskGroup() as group:
            performing = group.create_task(
                Executor(clock=CLOCK).perform(provider, invocation_of(spec), report=lambda _: None, stop=stop)
            )
            visit = await server.visited()
            stop.set()
        assert performing.result() == Stopped(confirmed=False)
        await visit.stopped.wait()


async def test_leaving_the_iterator_early_tells_the_server() -> None:
    async with offering(hangs(progress(0.1))) as (server, provider, spec):
        events = provider.call(invocation_of(spec))
        assert await anext(events) == ToolProgress(0.1, "")
        await events.aclose()
        await (await server.visited()).stopped.wait()


async def test_a_result_too_large_for_a_message_leaves_a_doubt() -> None:
    async with offering(says(result("x" * (5 << 20)))) as (_, provider, spec):
        assert isinstance(await outcome(provider, spec), InDoubt)


async def test_calls_run_beside_each_other() -> None:
    async with offering(says(progress(0.5), result())) as (server, provider, spec):
        outcomes = await asyncio.gather(*(outcome(provider, spec) for _ in range(50)))
    assert outcomes == [Replied(DONE)] * 50
    assert len(server.visits) == 50
