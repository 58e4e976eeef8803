"""InputService as gRPC sees it: decode, hand to the facade, encode. Nothing is decided here."""

from collections.abc import Mapping

from heddle.runtime.v1 import input_service_pb2 as pb
from heddle_core.ids import InputId, RunId, ThreadId
from heddle_core.values import value
from heddle_grpc.authorization import Rule
from heddle_grpc.calls import Context
from heddle_grpc.paging import order_asked
from heddle_runtime.codec.views import input_message
from heddle_runtime.facade.run_commands import InputOrder, ListInputs
from heddle_runtime.facade.runs import Runs
from heddle_runtime.rpc.paging import page_asked, page_given
from heddle_runtime.rpc.requests import caller
from heddle_runtime.rpc.scopes import READ
from heddle_runtime.runs.inputs import InputKind, InputRequest
from heddle_runtime.runs.state import InputState

NAME = "heddle.runtime.v1.InputService"

RULES: Mapping[str, Rule] = {"GetInput": READ, "ListInputs": READ}
"""Which scope each RPC asks for."""


@value
class InputServicer:
    """The inbox."""

    runs: Runs

    async def GetInput(self, request: pb.GetInputRequest, context: Context) -> pb.GetInputResponse:
        """An input."""
        asked = await self.runs.get_input(caller(context).tenant, InputId(request.input_id))
        return pb.GetInputResponse(input=input_message(asked))

    async def ListInputs(self, request: pb.ListInputsRequest, context: Context) -> pb.ListInputsResponse:
        """A page of inputs."""
        tenant = caller(context).tenant
        command = ListInputs(
            tenant=tenant,
            page=page_asked(tenant, request),
            order=InputOrder(order_asked(request.order_by, [order.value for order in InputOrder])),
            states=tuple(InputState(state) for state in request.states if state) or (InputState.PENDING,),
            kinds=tuple(InputKind(kind) for kind in request.kinds if kind),
            thread_id=ThreadId(request.thread_id),
            run_id=RunId(request.run_id),
        )
        listing = await self.runs.source.list_inputs(command)
        page = page_given(tenant, request, listing, input_message, _reference)
        return pb.ListInputsResponse(inputs=page.messages, next_page_token=page.next_page_token)


def _reference(asked: InputRequest) -> str:
    return f"GetInput of {asked.input_id}"
