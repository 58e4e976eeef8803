"""The tools of delegation over heddle.tools.v1: a call is recorded under its own key, and its result comes later.

The call id is the spawn key: a call that the runtime sends again finds the child that the first one has made.
"""

import hashlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from datetime import timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from heddle.tools.v1 import tool_service_pb2 as pb
from heddle_client.transience import is_passing
from heddle_client.wire_times import timestamp
from heddle_core.clock import MICROS_PER_SECOND
from heddle_core.errors import invalid
from heddle_core.failpoints import failpoint
from heddle_core.faults import HeddleError
from heddle_core.requests import Creator
from heddle_grpc.calls import Context
from heddle_grpc.tool_calls import answered, check_context, read_arguments, refused
from heddle_spawn.facade.spawning import Spawning, Wish
from heddle_spawn.rpc.arguments import KINDS
from heddle_spawn.rpc.declarations import tools
from heddle_spawn.rules import names
from heddle_spawn.rules.spawns import GroupSpec, Waiter

_EXPIRES_BEHIND = timedelta(minutes=10)
"""How long after the deadline of the work the runtime gives up by itself, if this service never speaks again."""


@dataclass(frozen=True, slots=True)
class ToolServicer:
    """ListTools and CallTool."""

    spawning: Spawning

    async def ListTools(self, request: pb.ListToolsRequest, context: Context) -> pb.ListToolsResponse:
        """The three tools."""
        if request.page_token:
            raise invalid("page_token", "leave it empty: all tools stand on the first page")
        return pb.ListToolsResponse(tools=tools())

    async def CallTool(self, request: pb.CallToolRequest, context: Context) -> AsyncGenerator[pb.CallToolResponse]:
        """Record what is asked for, and answer later; a refusal is answered at once, for the model to read."""
        wish = _wish(request)
        try:
            response = await self._called(request, wish)
        except HeddleError as error:
            if is_passing(error):
                raise
            response = refused(error)
        failpoint("spawn_unanswered")
        yield response

    async def _called(self, request: pb.CallToolRequest, wish: Wish) -> pb.CallToolResponse:
        kind = KINDS.get(request.tool)
        if kind is None:
            raise invalid("tool", f"one of {', '.join(KINDS)}")
        spec = read_arguments(kind, request.arguments_json).spec(names.call_key(request.idempotency_key))
        if isinstance(spec, GroupSpec):
            group, members = await self.spawning.spawn_group(wish, spec, dry_run=request.dry_run)
            count, at, said = len(members), group.deadline_at, f"group {group.group_id}"
        else:
            spawn = await self.spawning.spawn_agent(wish, spec, dry_run=request.dry_run)
            count, at, said = 1, spawn.deadline_at, f"{spawn.agent_id} ({spawn.spawn_id})"
        if request.dry_run:
            return answered(f"It would start {count} child{'ren' if count > 1 else ''}.")
        expire = at + round(_EXPIRES_BEHIND.total_seconds() * MICROS_PER_SECOND)
        return _deferral(f"waits for {said}", timestamp(expire))


def _wish(request: pb.CallToolRequest) -> Wish:
    """Who calls, for whom. Raises InvalidField."""
    given = request.context
    check_context(given, "input_id")
    said = f"{request.tool}\0{request.arguments_json or '{}'}"
    return Wish(
        creator=Creator(given.tenant, given.principal),
        fingerprint=hashlib.sha256(said.encode()).digest(),
        parent_run_id=given.run_id,
        waiter=Waiter(given.input_id, given.resolution_token),
    )


def _deferral(message: str, expire_time: Timestamp) -> pb.CallToolResponse:
    return pb.CallToolResponse(deferral=pb.ToolDeferral(message=message, expire_time=expire_time))
