"""The tools of a campaign's agents over heddle.tools.v1: what a run notes or says is kept under the key of its call."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from heddle.tools.v1 import tool_service_pb2 as pb
from heddle_campaign.facade.messages import CallOrigin, Messages
from heddle_campaign.rpc.agent_tools import KINDS, RememberArguments, tools
from heddle_client.transience import is_passing
from heddle_core.errors import invalid
from heddle_core.faults import HeddleError
from heddle_core.ids import TenantId
from heddle_grpc.calls import Context
from heddle_grpc.tool_calls import answered, check_context, read_arguments, refused


@dataclass(frozen=True, slots=True)
class CampaignTools:
    """ListTools and CallTool."""

    messages: Messages

    async def ListTools(self, request: pb.ListToolsRequest, context: Context) -> pb.ListToolsResponse:
        """The two tools."""
        if request.page_token:
            raise invalid("page_token", "leave it empty: all tools stand on the first page")
        return pb.ListToolsResponse(tools=tools())

    async def CallTool(
        self, request: pb.CallToolRequest, context: Context
    ) -> AsyncGenerator[pb.CallToolResponse, None]:
        """Keep what is noted or said; a refusal is answered for the model to read."""
        origin = _origin(request)
        try:
            response = answered(await self._called(request, origin))
        except HeddleError as error:
            if is_passing(error):
                raise
            response = refused(error)
        yield response

    async def _called(self, request: pb.CallToolRequest, origin: CallOrigin) -> str:
        kind = KINDS.get(request.tool)
        if kind is None:
            raise invalid("tool", f"one of {', '.join(KINDS)}")
        arguments = read_arguments(kind, request.arguments_json)
        if isinstance(arguments, RememberArguments):
            memory_id = await self.messages.note(origin, arguments.wording)
            return f"{'It would be' if origin.dry_run else 'It is'} remembered as {memory_id}."
        message_id = await self.messages.send(origin, arguments.letter)
        told = arguments.receiver_role or "everybody else"
        return f"{told} {'would be' if origin.dry_run else 'will be'} told in the next turn ({message_id})."


def _origin(request: pb.CallToolRequest) -> CallOrigin:
    """Who calls, for whom. Raises InvalidField."""
    given = request.context
    check_context(given)
    return CallOrigin(
        TenantId(given.tenant), given.principal, given.run_id, request.idempotency_key, dry_run=request.dry_run
    )
