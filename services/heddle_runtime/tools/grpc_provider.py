"""Tools served by anybody over `heddle.tools.v1.ToolService`.

The one file of `tools` that imports gRPC and protobuf: a provider is an edge of the runtime, as a store is. The
import contract names this file as its exception.
"""

import asyncio
from collections.abc import AsyncGenerator
from datetime import timedelta

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money

from heddle.common.v1.content_pb2 import ContentPart
from heddle.tools.v1 import tool_pb2, tool_service_pb2
from heddle.tools.v1.tool_service_pb2_grpc import ToolServiceStub
from heddle_core.clock import MICROS_PER_SECOND, Clock, Micros
from heddle_core.errors import CredentialInvalid, CredentialMissing, ScopeMissing
from heddle_core.faults import HeddleError
from heddle_core.usage import MicroUsd
from heddle_core.values import value
from heddle_grpc.channel import TokenSource, open_channel
from heddle_grpc.settings import ChannelSettings
from heddle_grpc.tool_routing import TOOL_PROVIDER_KEY
from heddle_runtime.runs.content import AssetReference, InlineData, Json, Part, Text
from heddle_runtime.tools.port import (
    DEFAULT_DEADLINE,
    NO_ARGUMENTS,
    CallContext,
    RiskClass,
    ToolDeferral,
    ToolEvent,
    ToolFault,
    ToolFaultKind,
    ToolInvocation,
    ToolProgress,
    ToolReply,
    ToolSpec,
)

CONNECT_WITHIN = timedelta(seconds=2)
"""A server that was down when it was asked last is waited for so long, since it may be restarting. One that refuses
the first connection is not waited for."""

_PAGE_SIZE = 50
_MOST_PAGES = 100

_REFUSALS = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.OUT_OF_RANGE,
}
"""Statuses by which a server says that it did not take a call. Every other may come after the effect."""


@value
class Remedies:
    """What is to be done where a provider does not let the runtime in. Tenants and models read it."""

    unreached: str = "check its address and that it runs"
    unknown: str = "show it a credential that it knows"
    """It asks for a credential, and none was shown, or one that it does not take."""
    forbidden: str = "give the runtime's credential that scope, on the provider's side"
    """It knows the credential, which may not call tools there."""


def connect(
    provider_id: str,
    settings: ChannelSettings,
    *,
    clock: Clock,
    token: TokenSource | None = None,
    remedies: Remedies | None = None,
) -> "GrpcToolProvider":
    """A provider at `settings.address`. Connects when first used. Raises CannotServe, as `open_channel` does.

    `settings.attempts` is not followed: a channel that sends a call again would break promise P8.
    """
    channel = open_channel(settings.model_copy(update={"attempts": 1}), token=token)
    return GrpcToolProvider(provider_id, channel, clock=clock, token=token, remedies=remedies or Remedies())


class GrpcToolProvider:
    """A ToolService behind a channel, which this object owns."""

    confirms_stop = False
    """A client that hangs up is not told whether the server had done the work by then."""

    def __init__(
        self,
        provider_id: str,
        channel: grpc.aio.Channel,
        *,
        clock: Clock,
        token: TokenSource | None,
        remedies: Remedies,
    ) -> None:
        """`token` is what the channel sends, which no fault may tell."""
        self._provider_id = provider_id
        self._token = token
        self._remedies = remedies
        self._channel = channel
        self._clock = clock
        self._stub = ToolServiceStub(channel)
        # For a port behind which several providers stand; any other ignores it.
        self._metadata = ((TOOL_PROVIDER_KEY, provider_id),)

    @property
    def provider_id(self) -> str:
        """The first part of its tools' paths."""
        return self._provider_id

    async def list_tools(self) -> tuple[ToolSpec, ...]:
        """All pages of ListTools, as declared. Raises ToolFault."""
        await self._connected()
        specs: list[ToolSpec] = []
        token = ""
        try:
            for _ in range(_MOST_PAGES):
                request = tool_service_pb2.ListToolsRequest(page_size=_PAGE_SIZE, page_token=token)
                page = await self._stub.ListTools(request, metadata=self._metadata)
                specs.extend(_to_spec(self._provider_id, tool) for tool in page.tools)
                if not page.next_page_token:
                    return tuple(specs)
                token = page.next_page_token
        except HeddleError as error:
            raise self._fault(error, heard=False) from error
        raise ToolFault(ToolFaultKind.REFUSED, f"{self._provider_id} lists more than {_MOST_PAGES} pages of tools")

    async def call(self, invocation: ToolInvocation) -> AsyncGenerator[ToolEvent, None]:
        """Perform a call; see `ToolProvider`. Raises ToolFault."""
        await self._connected()
        seconds = (invocation.context.deadline - self._clock.now()) / MICROS_PER_SECOND
        if seconds <= 0:
            raise ToolFault(
                ToolFaultKind.NOT_SENT, f"the deadline of {invocation.spec.path} passed before it was called"
            )
        heard = False
        call = self._stub.CallTool(_to_request(invocation), timeout=seconds, metadata=self._metadata)
        try:
            async for response in call:
                heard = True
                event = _to_event(response)
                if event is not None:
                    yield event
        except HeddleError as error:
            raise self._fault(error, heard=heard) from error
        finally:
            call.cancel()

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()

    async def _connected(self) -> None:
        """Return when a connection stands, so that a fault before is NOT_SENT beyond doubt. Raises ToolFault.

        The status UNAVAILABLE does not tell: a server, or a proxy before it, may answer so after the effect.
        """
        failed = grpc.ChannelConnectivity.TRANSIENT_FAILURE
        state = self._channel.get_state(try_to_connect=True)
        try:
            async with asyncio.timeout(CONNECT_WITHIN.total_seconds()):
                while state is not grpc.ChannelConnectivity.READY:
                    await self._channel.wait_for_state_change(state)
                    state = self._channel.get_state(try_to_connect=True)
                    if state in (failed, grpc.ChannelConnectivity.SHUTDOWN):
                        break
        except TimeoutError:
            state = failed
        if state is not grpc.ChannelConnectivity.READY:
            message = f"provider {self._provider_id} does not answer: {self._remedies.unreached}"
            raise ToolFault(ToolFaultKind.NOT_SENT, message)

    def _fault(self, error: HeddleError, *, heard: bool) -> ToolFault:
        message = f"provider {self._provider_id}: {self._without_token(str(error))}"
        code = _code_of(error)
        # A refusal after progress is none: the tool had begun.
        if code in _REFUSALS and not heard:
            return self._shut_out(error, code) or ToolFault(ToolFaultKind.REFUSED, message)
        late = code is grpc.StatusCode.DEADLINE_EXCEEDED
        return ToolFault(ToolFaultKind.IN_DOUBT, message, deadline_passed=late)

    def _shut_out(self, error: HeddleError, code: grpc.StatusCode | None) -> ToolFault | None:
        """The fault of a provider that does not let this runtime in, whatever the call; None for another refusal."""
        who, reason = f"provider {self._provider_id}", error.reason
        match error:
            case ScopeMissing():
                said = f"{who} asks for scope {error.scope}, which the credential that is shown to it lacks"
                message = f"{said}: {self._remedies.forbidden}"
            case CredentialInvalid():
                message = f"{who} does not take the credential ({error.problem}): {self._remedies.unknown}"
            case CredentialMissing():
                message = f"{who} asks for a credential, and is shown none: {self._remedies.unknown}"
            case _ if code is grpc.StatusCode.UNAUTHENTICATED:  # one that is not served by Heddle
                reason = CredentialInvalid.reason if self._token else CredentialMissing.reason
                message = f"{who} asks for a credential that it knows: {self._remedies.unknown}"
            case _:
                return None
        return ToolFault(ToolFaultKind.REFUSED, self._without_token(message), reason=reason)

    def _without_token(self, text: str) -> str:
        """What a provider says, even if it repeats what it was shown."""
        token = self._token() if self._token is not None else None
        return text.replace(token, "***") if token else text


def _code_of(error: HeddleError) -> grpc.StatusCode | None:
    """The code on the wire; None if there was none. The error's own status says what our callers are told, which
    for a result too large to receive is FAILED_PRECONDITION: no refusal, the tool has done its work.
    """
    cause = error.__cause__
    return cause.code() if isinstance(cause, grpc.aio.AioRpcError) else None


# --- to the contract -------------------------------------------------------------------------------------


def _to_request(invocation: ToolInvocation) -> tool_service_pb2.CallToolRequest:
    return tool_service_pb2.CallToolRequest(
        tool=invocation.spec.name,
        arguments_json=invocation.arguments_json,
        idempotency_key=invocation.idempotency_key,
        context=_to_context(invocation.context),
        dry_run=invocation.dry_run,
    )


def _to_context(context: CallContext) -> tool_service_pb2.CallContext:
    seconds, micros = divmod(context.deadline, MICROS_PER_SECOND)
    return tool_service_pb2.CallContext(
        tenant=context.tenant,
        principal=context.principal,
        thread_id=context.thread_id,
        run_id=context.run_id,
        call_id=context.call_id,
        fence=context.fence,
        deadline=Timestamp(seconds=seconds, nanos=micros * 1_000),
        input_id=context.input_id,
        resolution_token=context.resolution_token,
    )


# --- from the contract -----------------------------------------------------------------------------------


def _to_spec(provider_id: str, tool: tool_pb2.Tool) -> ToolSpec:
    """Raises ToolFault for what no ToolSpec can say."""
    price = _to_micro_usd(tool.price) if tool.HasField("price") else MicroUsd(0)
    if price is None:
        raise ToolFault(ToolFaultKind.REFUSED, f"{tool.name[:64]!r} has a price in another currency than USD")
    risk = tool.risk or RiskClass.WRITE
    if risk not in [each.value for each in RiskClass]:
        raise ToolFault(ToolFaultKind.REFUSED, f"{tool.name[:64]!r} has risk class {risk}, which is not known here")
    return ToolSpec(
        provider_id=provider_id,
        name=tool.name,
        description=tool.description,
        parameters_json=tool.parameters_json or NO_ARGUMENTS,
        risk=RiskClass(risk),
        read_only=tool.read_only,
        idempotent=tool.idempotent,
        needs_approval=tool.needs_approval,
        deadline=_to_timedelta(tool.deadline) if tool.HasField("deadline") else DEFAULT_DEADLINE,
        price=price,
        category=tool.category,
    )


def _to_event(response: tool_service_pb2.CallToolResponse) -> ToolEvent | None:
    """None for an event of a later contract."""
    match response.WhichOneof("event"):
        case "progress":
            return ToolProgress(response.progress.fraction, response.progress.message)
        case "result":
            return _to_reply(response.result)
        case "deferral":
            deferral = response.deferral
            return ToolDeferral(
                message=deferral.message,
                expire_time=_to_micros(deferral.expire_time) if deferral.HasField("expire_time") else None,
            )
        case None:
            return None


def _to_reply(result: tool_service_pb2.ToolResult) -> ToolReply:
    return ToolReply(
        ok=result.outcome == tool_service_pb2.TOOL_OUTCOME_OK,
        content=tuple(part for each in result.content if (part := _to_part(each)) is not None),
        ui_blocks_json=tuple(result.ui_blocks_json),
        # A cost in another currency cannot be charged: the declared price is.
        cost=_to_micro_usd(result.cost) if result.HasField("cost") else None,
        next_actions=tuple(result.next_actions),
    )


def _to_part(part: ContentPart) -> Part | None:
    match part.WhichOneof("part"):
        case "text":
            return Text(part.text)
        case "json":
            return Json(part.json)
        case "inline_data":
            return InlineData(part.inline_data.media_type, part.inline_data.data, part.inline_data.name)
        case "asset":
            return AssetReference(part.asset.asset_id, part.asset.media_type, part.asset.name)
        case None:
            return None


def _to_micro_usd(money: Money) -> MicroUsd | None:
    """Rounded up to a whole millionth, so that nothing is ever free by rounding; None if it is not in dollars."""
    if money.currency_code != "USD":
        return None
    return MicroUsd(money.units * 1_000_000 - (-money.nanos // 1_000))


def _to_timedelta(duration: Duration) -> timedelta:
    """Out of the range of deadlines stays out of it, without overflow."""
    seconds = min(max(duration.seconds, -1), 1_000_000)
    return timedelta(seconds=seconds, microseconds=duration.nanos // 1_000)


def _to_micros(time: Timestamp) -> Micros:
    return Micros(time.seconds * MICROS_PER_SECOND + time.nanos // 1_000)
