"""Tools that do what a test tells them to, behind a real ToolService on loopback or none: slow, dying, lying."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import grpc

from heddle.common.v1.content_pb2 import ContentPart
from heddle.tools.v1 import tool_pb2, tool_service_pb2, tool_service_pb2_grpc
from heddle.tools.v1.tool_service_pb2 import CallToolRequest, CallToolResponse
from heddle_core.clock import Clock, Micros, SystemClock
from heddle_core.ids import CallId, InputId, PrincipalId, RunId, TenantId, ThreadId
from heddle_runtime.tools.port import CallContext, ToolEvent, ToolInvocation, ToolSpec

Context = grpc.aio.ServicerContext
Behaviour = Callable[["Visit"], AsyncGenerator[CallToolResponse, None]]


@dataclass
class Visit:
    """One call as the server sees it."""

    request: CallToolRequest
    context: Context
    seconds_left: float | None
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the server notices that the caller has hung up."""


@dataclass
class ToolServer:
    """What the server offers, how its tools behave, and the calls that arrived."""

    tools: list[tool_pb2.Tool] = field(default_factory=list)
    behaviours: dict[str, Behaviour] = field(default_factory=dict)
    page_size: int = 50
    endless_pages: bool = False
    visits: list[Visit] = field(default_factory=list)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    address: str = ""
    stop: Callable[[], Awaitable[None]] | None = None
    """Ends the server at once, and cuts every call: a stand-in for the death of its process."""

    def offer(self, tool: tool_pb2.Tool, behaviour: Behaviour) -> None:
        """Serve one more tool."""
        self.tools.append(tool)
        self.behaviours[tool.name] = behaviour

    async def visited(self) -> Visit:
        """The first call, as soon as it has arrived."""
        await self.arrived.wait()
        return self.visits[0]


@asynccontextmanager
async def serving(server: ToolServer, *, address: str = "127.0.0.1:0") -> AsyncIterator[ToolServer]:
    """Serve on a free port of loopback, or on `address`."""
    raw = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    tool_service_pb2_grpc.add_ToolServiceServicer_to_server(_Service(server), raw)
    port = raw.add_insecure_port(address)
    server.address = f"127.0.0.1:{port}"

    async def stop() -> None:
        await raw.stop(None)

    server.stop = stop
    await raw.start()
    try:
        yield server
    finally:
        await raw.stop(None)


# --- declarations and messages ---------------------------------------------------------------------------


def declared(name: str, **fields: object) -> tool_pb2.Tool:
    """A tool that writes, unless `fields` say otherwise."""
    return tool_pb2.Tool(**{"name": name, "description": f"Does {name}.", **fields})


def read_only(name: str, **fields: object) -> tool_pb2.Tool:
    """A tool that only reads."""
    return declared(name, risk=tool_pb2.RISK_CLASS_READ, read_only=True, **fields)


def result(text: str = "done", *, ok: bool = True) -> CallToolResponse:
    """The end of a call, in words."""
    outcome = tool_service_pb2.TOOL_OUTCOME_OK if ok else tool_service_pb2.TOOL_OUTCOME_ERROR
    content = [ContentPart(text=text)] if text else []
    return CallToolResponse(result=tool_service_pb2.ToolResult(outcome=outcome, content=content))


def progress(fraction: float, message: str = "") -> CallToolResponse:
    """How far a call is."""
    return CallToolResponse(progress=tool_service_pb2.ToolProgress(fraction=fraction, message=message))


def deferral(message: str = "later") -> CallToolResponse:
    """The result comes later."""
    return CallToolResponse(deferral=tool_service_pb2.ToolDeferral(message=message))


# --- behaviours ------------------------------------------------------------------------------------------


def says(*responses: CallToolResponse) -> Behaviour:
    """Sends these, and ends: a good tool, or one that lies twice."""

    async def behave(visit: Visit) -> AsyncGenerator[CallToolResponse, None]:
        for response in responses:
            yield response

    return behave


def hangs(*responses: CallToolResponse) -> Behaviour:
    """Sends these, and then nothing more, until the caller hangs up."""

    async def behave(visit: Visit) -> AsyncGenerator[CallToolResponse, None]:
        try:
            for response in responses:
                yield response
            await asyncio.Event().wait()
        finally:
            visit.stopped.set()

    return behave


def aborts(code: grpc.StatusCode, *responses: CallToolResponse, details: str = "no") -> Behaviour:
    """Sends these, and ends with an error."""

    async def behave(visit: Visit) -> AsyncGenerator[CallToolResponse, None]:
        for response in responses:
            yield response
        await visit.context.abort(code, details)

    return behave


def breaks(*responses: CallToolResponse) -> Behaviour:
    """Sends these, and raises: a bug in the tool."""

    async def behave(visit: Visit) -> AsyncGenerator[CallToolResponse, None]:
        for response in responses:
            yield response
        raise RuntimeError("a bug in the tool")

    return behave


# --- without a network ------------------------------------------------------------------------------------


def spec_of(name: str = "act", provider_id: str = "kit", **fields: object) -> ToolSpec:
    """A tool that writes, unless `fields` say otherwise."""
    return ToolSpec(provider_id=provider_id, name=name, **{"description": f"Does {name}.", **fields})


def invocation_of(
    spec: ToolSpec,
    arguments_json: str = "{}",
    *,
    key: str = "key_1",
    tenant: str = "acme",
    within: timedelta = timedelta(seconds=30),
    clock: Clock | None = None,
    dry_run: bool = False,
) -> ToolInvocation:
    """A call of `spec` that must end `within` the given time."""
    deadline = Micros((clock or SystemClock()).now() + int(within / timedelta(microseconds=1)))
    context = CallContext(
        tenant=TenantId(tenant),
        principal=PrincipalId("ada"),
        thread_id=ThreadId("thread_1"),
        run_id=RunId("run_1"),
        call_id=CallId("call_1"),
        fence=7,
        deadline=deadline,
        input_id=InputId("input_1"),
        resolution_token="secret",
    )
    return ToolInvocation(spec, arguments_json, key, context, dry_run)


@dataclass
class FakeProvider:
    """Serves what it is given; every call yields `events`, and then may hang or raise."""

    provider_id: str = "kit"
    specs: Sequence[ToolSpec] = ()
    events: Sequence[ToolEvent] = ()
    fault: Exception | None = None
    """Raised after the events of a call."""
    hang: bool = False
    """Whether a call waits for its cancellation after its events."""
    deaf: asyncio.Event | None = None
    """If set, a cancelled call goes on until this event."""
    last_word: ToolEvent | None = None
    """What a call says when it is cancelled."""
    listing_fault: Exception | None = None
    confirms_stop: bool = True
    calls: list[ToolInvocation] = field(default_factory=list)
    called: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a call has yielded its events."""
    listings: int = 0
    closed: bool = False

    async def list_tools(self) -> tuple[ToolSpec, ...]:
        self.listings += 1
        if self.listing_fault is not None:
            raise self.listing_fault
        return tuple(self.specs)

    async def call(self, invocation: ToolInvocation) -> AsyncGenerator[ToolEvent, None]:
        self.calls.append(invocation)
        for event in self.events:
            yield event
        self.called.set()
        if self.hang:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if self.deaf is not None:
                    await self.deaf.wait()
                if self.last_word is None:
                    raise
                yield self.last_word
        if self.fault is not None:
            raise self.fault

    async def close(self) -> None:
        self.closed = True


class _Service(tool_service_pb2_grpc.ToolServiceServicer):
    def __init__(self, server: ToolServer) -> None:
        self._server = server

    async def ListTools(self, request, context):
        size = min(request.page_size or 50, self._server.page_size)
        start = int(request.page_token or 0)
        tools = self._server.tools[start : start + size]
        more = self._server.endless_pages or start + size < len(self._server.tools)
        token = str(start + size) if more else ""
        return tool_service_pb2.ListToolsResponse(tools=tools, next_page_token=token)

    async def CallTool(self, request, context):
        visit = Visit(request, context, context.time_remaining())
        self._server.visits.append(visit)
        self._server.arrived.set()
        # A caller may hang up while a response is on its way: the tool must hear of that too.
        async with aclosing(self._server.behaviours[request.tool](visit)) as responses:
            async for response in responses:
                yield response
