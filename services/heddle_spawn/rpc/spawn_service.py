"""SpawnService as gRPC sees it: decode, hand to the facade, encode. Nothing is decided here."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass

from heddle.spawn.v1alpha1 import spawn_group_pb2, spawn_pb2
from heddle.spawn.v1alpha1 import spawn_service_pb2 as pb
from heddle_client.runs import usage_message
from heddle_core.errors import invalid
from heddle_core.failpoints import failpoint
from heddle_grpc.authorization import Rule
from heddle_grpc.calls import Context
from heddle_grpc.drain import Drain
from heddle_grpc.masks import text_within
from heddle_grpc.paging import order_asked, size_asked, time_cursor_asked, token_behind
from heddle_grpc.requests import creator, patience, request_key
from heddle_spawn.codec import fingerprint, group_message, group_spec_value, spawn_message, spec_value
from heddle_spawn.facade.ports import ListSpawns
from heddle_spawn.facade.reading import Reading, Standing
from heddle_spawn.facade.spawning import Spawning, Wish
from heddle_spawn.rpc.scopes import READ, RUN
from heddle_spawn.rules.spawns import Group, Spawn, Waiter
from heddle_spawn.rules.states import SpawnState

NAME = "heddle.spawn.v1alpha1.SpawnService"

RULES: Mapping[str, Rule] = {
    "SpawnAgent": RUN,
    "SpawnGroup": RUN,
    "GetSpawn": READ,
    "ListSpawns": READ,
    "GetSpawnTree": READ,
    "WaitSpawn": READ,
    "WatchSpawn": READ,
    "CancelSpawn": RUN,
}
"""Which scope each RPC asks for."""

_MOST_NOTE = 1_024
_MOST_DEPTH = 16
_ORDERS = ("create_time desc", "create_time", "end_time desc", "end_time")


@dataclass(frozen=True, slots=True)
class SpawnServicer:
    """The eight RPCs."""

    spawning: Spawning
    reading: Reading
    drain: Drain

    async def SpawnAgent(self, request: pb.SpawnAgentRequest, context: Context) -> pb.SpawnAgentResponse:
        """Start one child."""
        wait = patience(request.wait_seconds)
        _require_dollars(request.spec, "spec")
        wish = _wish("SpawnAgent", request)
        spawn = await self.spawning.spawn_agent(wish, spec_value(request.spec), dry_run=request.validate_only)
        failpoint("spawn_unanswered")
        if request.wait_seconds and not request.validate_only:
            standing = await self.reading.wait(spawn.tenant, wait, self.drain, spawn_id=spawn.spawn_id)
            spawn = standing.spawn or spawn
        return pb.SpawnAgentResponse(spawn=_spawn(spawn))

    async def SpawnGroup(self, request: pb.SpawnGroupRequest, context: Context) -> pb.SpawnGroupResponse:
        """Start a group."""
        wait = patience(request.wait_seconds)
        for number, stage in enumerate(request.spec.stages):
            for place, child in enumerate(stage.children):
                _require_dollars(child, f"spec.stages[{number}].children[{place}]")
        wish = _wish("SpawnGroup", request)
        spec = group_spec_value(request.spec)
        group, members = await self.spawning.spawn_group(wish, spec, dry_run=request.validate_only)
        failpoint("spawn_unanswered")
        if request.wait_seconds and not request.validate_only:
            standing = await self.reading.wait(group.tenant, wait, self.drain, group_id=group.group_id)
            group, members = standing.group or group, standing.members
        return pb.SpawnGroupResponse(group=_group(group, members))

    async def GetSpawn(self, request: pb.GetSpawnRequest, context: Context) -> pb.GetSpawnResponse:
        """A child or a group."""
        _require_target(request.WhichOneof("target"))
        standing = await self.reading.get(creator().tenant, spawn_id=request.spawn_id, group_id=request.group_id)
        return pb.GetSpawnResponse(spawn=_spawn_of(standing), group=_group_of(standing))

    async def ListSpawns(self, request: pb.ListSpawnsRequest, context: Context) -> pb.ListSpawnsResponse:
        """A page of children."""
        tenant, size = creator().tenant, size_asked(request)
        order = order_asked(request.order_by, _ORDERS)
        by_end = order.startswith("end_time")
        found = await self.reading.page(
            ListSpawns(
                tenant=tenant,
                size=size,
                after=time_cursor_asked(tenant, request),
                by_end=by_end,
                newest_first=order.endswith(" desc"),
                parent_run_id=request.parent_run_id,
                root_run_id=request.root_run_id,
                group_id=request.group_id,
                agent_id=request.agent_id,
                states=tuple(SpawnState(state) for state in request.states if state),
            )
        )
        shown, token = found[:size], ""
        if len(found) > size:
            last = shown[-1]
            token = token_behind(tenant, request, (last.end_time if by_end else last.create_time, last.spawn_id))
        return pb.ListSpawnsResponse(spawns=[_spawn(each) for each in shown], next_page_token=token)

    async def GetSpawnTree(self, request: pb.GetSpawnTreeRequest, context: Context) -> pb.GetSpawnTreeResponse:
        """The tree of a run."""
        if not 0 <= request.max_depth <= _MOST_DEPTH:
            raise invalid("max_depth", f"1 to {_MOST_DEPTH}, or zero for all")
        tree = await self.reading.tree(creator(), request.run_id, request.max_depth)
        return pb.GetSpawnTreeResponse(
            root_run_id=tree.root.run_id,
            spawns=[_spawn(each) for each in tree.spawns],
            groups=[group_message(each) for each in tree.groups],
            usage=usage_message(tree.usage),
            truncated=tree.truncated,
        )

    async def WaitSpawn(self, request: pb.WaitSpawnRequest, context: Context) -> pb.WaitSpawnResponse:
        """A child or group once it is over or waits."""
        _require_target(request.WhichOneof("target"))
        standing = await self.reading.wait(
            creator().tenant,
            patience(request.wait_seconds),
            self.drain,
            spawn_id=request.spawn_id,
            group_id=request.group_id,
        )
        return pb.WaitSpawnResponse(spawn=_spawn_of(standing), group=_group_of(standing))

    async def WatchSpawn(
        self, request: pb.WatchSpawnRequest, context: Context
    ) -> AsyncGenerator[pb.WatchSpawnResponse]:
        """A child or group, whenever it changes."""
        _require_target(request.WhichOneof("target"))
        watched = self.reading.watch(creator().tenant, self.drain, spawn_id=request.spawn_id, group_id=request.group_id)
        async with aclosing(watched) as standings:
            async for standing in standings:
                yield pb.WatchSpawnResponse(spawn=_spawn_of(standing), group=_group_of(standing))

    async def CancelSpawn(self, request: pb.CancelSpawnRequest, context: Context) -> pb.CancelSpawnResponse:
        """End a child or group before it is done."""
        _require_target(request.WhichOneof("target"))
        text_within("note", request.note, _MOST_NOTE)
        key = request_key("CancelSpawn", request)
        standing = await self.reading.cancel(
            creator(), key, request.note, spawn_id=request.spawn_id, group_id=request.group_id
        )
        return pb.CancelSpawnResponse(spawn=_spawn_of(standing), group=_group_of(standing))


def _wish(method: str, request: pb.SpawnAgentRequest | pb.SpawnGroupRequest) -> Wish:
    if request.parent_input_id and not request.parent_run_id:
        raise invalid("parent_run_id", "the run that waits for parent_input_id")
    return Wish(
        creator=creator(),
        fingerprint=fingerprint(request.spec),
        parent_run_id=request.parent_run_id,
        waiter=Waiter(request.parent_input_id),
        key=request_key(method, request),
    )


def _spawn(spawn: Spawn) -> spawn_pb2.Spawn:
    message = spawn_message(spawn)
    if not spawn.state.terminal:
        message.ClearField("failure")
    return message


def _group(group: Group, members: tuple[Spawn, ...]) -> spawn_group_pb2.SpawnGroup:
    message = group_message(group)
    message.spawns.extend(_spawn(each) for each in members)
    message.usage.CopyFrom(group_message(group, members).usage)
    return message


def _spawn_of(standing: Standing) -> spawn_pb2.Spawn | None:
    return _spawn(standing.spawn) if standing.spawn is not None else None


def _group_of(standing: Standing) -> spawn_group_pb2.SpawnGroup | None:
    return _group(standing.group, standing.members) if standing.group is not None else None


def _require_target(target: str | None) -> None:
    if target is None:
        raise invalid("target", "set spawn_id or group_id")


def _require_dollars(spec: spawn_pb2.SpawnSpec, path: str) -> None:
    cost = spec.budget.cost
    if spec.budget.HasField("cost") and cost.currency_code not in ("", "USD"):
        raise invalid(f"{path}.budget.cost.currency_code", "USD: budgets are counted in US dollars")
    if cost.units > 1_000_000_000:
        raise invalid(f"{path}.budget.cost.units", "at most 1,000,000,000")
