"""The tools of delegation over heddle.tools.v1: a call is recorded under its own key, and its result comes later.

The call id is the spawn key: a call that the runtime sends again finds the child that the first one has made.
"""

import hashlib
import json
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from datetime import timedelta

from google.protobuf.timestamp_pb2 import Timestamp

from heddle.common.v1.content_pb2 import ContentPart
from heddle.tools.v1 import tool_service_pb2 as pb
from heddle_client.transience import is_passing
from heddle_client.wire_times import timestamp
from heddle_core.clock import MICROS_PER_SECOND
from heddle_core.errors import invalid
from heddle_core.failpoints import failpoint
from heddle_core.faults import HeddleError
from heddle_core.ids import is_id
from heddle_core.requests import Creator
from heddle_grpc.authorization import Access, Rule
from heddle_grpc.calls import Context
from heddle_spawn.facade.spawning import Spawning, Wish
from heddle_spawn.rpc.arguments import KINDS, read
from heddle_spawn.rpc.declarations import tools
from heddle_spawn.rpc.scopes import ACT_AS
from heddle_spawn.rules import names
from heddle_spawn.rules.spawns import GroupSpec, Waiter

NAME = "heddle.tools.v1.ToolService"

RULES: Mapping[str, Rule] = {"ListTools": Access.ANYBODY_KNOWN, "CallTool": ACT_AS}
"""Which scope each RPC asks for. A call names tenant and principal itself, so only who may act for others calls."""

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
            response = _refusal(error)
        failpoint("spawn_unanswered")
        yield response

    async def _called(self, request: pb.CallToolRequest, wish: Wish) -> pb.CallToolResponse:
        kind = KINDS.get(request.tool)
        if kind is None:
            raise invalid("tool", f"one of {', '.join(KINDS)}")
        spec = read(kind, request.arguments_json).spec(names.call_key(request.idempotency_key))
        if isinstance(spec, GroupSpec):
            group, members = await self.spawning.spawn_group(wish, spec, dry_run=request.dry_run)
            count, at, said = len(members), group.deadline_at, f"group {group.group_id}"
        else:
            spawn = await self.spawning.spawn_agent(wish, spec, dry_run=request.dry_run)
            count, at, said = 1, spawn.deadline_at, f"{spawn.agent_id} ({spawn.spawn_id})"
        if request.dry_run:
            return _result(f"It would start {count} child{'ren' if count > 1 else ''}.")
        expire = at + round(_EXPIRES_BEHIND.total_seconds() * MICROS_PER_SECOND)
        return _deferral(f"waits for {said}", timestamp(expire))


def _wish(request: pb.CallToolRequest) -> Wish:
    """Who calls, for whom. Raises InvalidField."""
    given = request.context
    for name in ("tenant", "principal", "run_id", "input_id"):
        if not getattr(given, name):
            raise invalid(f"context.{name}", "is required: the runtime sets it with every call")
    if not is_id(given.tenant):
        raise invalid("context.tenant", "must be 1 to 64 characters of A-Z, a-z, 0-9, _ and -")
    said = f"{request.tool}\0{request.arguments_json or '{}'}"
    return Wish(
        creator=Creator(given.tenant, given.principal),
        fingerprint=hashlib.sha256(said.encode()).digest(),
        parent_run_id=given.run_id,
        waiter=Waiter(given.input_id, given.resolution_token),
    )


def _deferral(message: str, expire_time: Timestamp) -> pb.CallToolResponse:
    return pb.CallToolResponse(deferral=pb.ToolDeferral(message=message, expire_time=expire_time))


def _refusal(error: HeddleError) -> pb.CallToolResponse:
    said = json.dumps({"error": error.reason, "message": str(error)}, ensure_ascii=False)
    result = pb.ToolResult(outcome=pb.TOOL_OUTCOME_ERROR, content=[ContentPart(json=said)])
    return pb.CallToolResponse(result=result)


def _result(text: str) -> pb.CallToolResponse:
    return pb.CallToolResponse(result=pb.ToolResult(outcome=pb.TOOL_OUTCOME_OK, content=[ContentPart(text=text)]))
