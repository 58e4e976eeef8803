"""Clients of the spawn service: agents that delegate are given turns, and children are asked for directly."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

from heddle.common.v1.content_pb2 import ContentPart
from heddle.runtime.v1.agent_pb2 import AgentSpec, ToolProvider
from heddle.runtime.v1.agent_runtime_pb2 import CancelRunRequest, ResolveInputRequest, StartTurnRequest
from heddle.runtime.v1.agent_service_pb2 import CreateAgentRequest
from heddle.runtime.v1.input_pb2 import InputAnswer, InputKind, InputState
from heddle.runtime.v1.input_service_pb2 import ListInputsRequest
from heddle.runtime.v1.run_pb2 import RunState
from heddle.runtime.v1.run_service_pb2 import GetRunRequest, ListRunsRequest
from heddle.runtime.v1.tool_provider_service_pb2 import CreateToolProviderRequest
from heddle.runtime.v1.turn_pb2 import AgentReference, Limits, Turn
from heddle.spawn.v1alpha1 import spawn_group_pb2, spawn_pb2
from heddle.spawn.v1alpha1 import spawn_service_pb2 as pb
from heddle.spawn.v1alpha1.spawn_service_pb2_grpc import SpawnServiceStub
from tests.faults.clients import Client
from tests.faults.delegation_tasks import (
    AGENTS,
    HANDS,
    LEAD,
    TOO_MANY_TOKENS,
    Task,
    asking_task,
    chain_task,
    lead_task,
    leaf_text,
    slow_text,
)
from tests.faults.spawn_clients import SpawnClient, spawn_stub
from tests.faults.workload import TENANTS
from tests.faults.world import World

_OPEN_RUNS = (RunState.RUN_STATE_QUEUED, RunState.RUN_STATE_RUNNING, RunState.RUN_STATE_WAITING)
_OPEN_SPAWNS = (
    spawn_pb2.SpawnState.SPAWN_STATE_PENDING,
    spawn_pb2.SpawnState.SPAWN_STATE_RUNNING,
    spawn_pb2.SpawnState.SPAWN_STATE_WAITING,
)
_MOST_OPEN = 40
"""Runs and children of both tenants; nobody begins anything while there are more."""
_LOOKED_EVERY = 0.3
_FOR_PEOPLE = (InputKind.INPUT_KIND_QUESTION, InputKind.INPUT_KIND_RECONCILE)
_ACTORS = 8
_CROWDED_EVERY = 6
"""Times that a client gives children to a run until it gives too many."""
_CHILDREN_BEGIN_WITHIN = 0.6
_CHAINS_END_WITHIN = 40.0
"""Seconds."""
_TOO_MANY, _SLOW_TOKENS = (5, 4, 3), 30
"""Children in groups that are given to one parent by a client that does not count, and the slice of each."""

_MORE_THAN_FIT = 30
"""Children: a run may have eight."""

_DEEDS = (("lead", 9), ("root", 4), ("group", 3), ("under", 6), ("again", 2), ("cancel", 3), ("answer", 4))


@dataclass
class _Known:
    """What the clients of a tenant remember."""

    waiting: list[str] = field(default_factory=list)
    """Leads that ask a question."""
    leads: list[str] = field(default_factory=list)
    spawns: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    requests: list[tuple[str, Any]] = field(default_factory=list)
    """Methods and requests that were acknowledged."""


class Delegators:
    """The clients of one cell."""

    def __init__(self, world: World, stub: SpawnServiceStub) -> None:
        self._world = world
        self._random = Random(world.random.getrandbits(32))
        self._journal = world.crowd.journal
        self._clients = {each: Client(f"{each}-cal", each, "cal", world.channels, self._journal) for each in TENANTS}
        self._spawners = {each: SpawnClient(each, "cal", stub, self._journal) for each in TENANTS}
        self._known = {each: _Known() for each in TENANTS}
        self._stopped = False
        self._ids = 0
        self._leads = self._crowded = 0
        self._asked = 0
        self._more = asyncio.Event()
        self._looking = asyncio.Lock()
        self._looked_at = 0.0
        self._open = 0

    async def furnish(self, tools_at: str) -> None:
        """Give each tenant its agents, and the tools of the spawn service where it is not part of the runtime."""
        for client in self._clients.values():
            if tools_at:
                provider = ToolProvider(provider_id="spawn", grpc_target=tools_at)
                made = CreateToolProviderRequest(request_id="spawn", provider=provider)
                told = await client.call(0, "tool_providers", "CreateToolProvider", made)
                assert told.ok, f"no tools: {told}"
            for agent_id in AGENTS:
                spec = AgentSpec(instructions="Delegate.", tools=["spawn/*", "ledger/*", "builtin/ask_user"])
                agent = CreateAgentRequest(request_id=f"agent-{agent_id}", agent_id=agent_id, spec=spec)
                told = await client.call(0, "agents", "CreateAgent", agent)
                assert told.ok, f"no agent: {told}"

    @asynccontextmanager
    async def at_work(self) -> AsyncGenerator[None]:
        """Have them all at work in the block, and wait until each has finished what it does."""
        async with asyncio.TaskGroup() as actors:
            for place in range(_ACTORS):
                actors.create_task(self._act(TENANTS[place % len(TENANTS)], Random(self._random.getrandbits(32))))
            try:
                yield
            finally:
                self._stopped = True

    async def overreach(self) -> None:
        """Ask for too deep, for too many and for too dear children, and cancel some: whatever else happens, that did.

        Before anybody is at work and anything is broken, so that every refusal is there each time.
        """
        deep = {tenant: await self._turn(tenant, chain_task(self._id(), self._random)) for tenant in TENANTS}
        async with asyncio.TaskGroup() as both:
            for place, tenant in enumerate(TENANTS):
                both.create_task(self._go_too_far(tenant, cancels=place == 0))
        with suppress(TimeoutError):
            async with asyncio.timeout(_CHAINS_END_WITHIN):
                while deep:
                    await asyncio.sleep(_LOOKED_EVERY)
                    deep = {each: run_id for each, run_id in deep.items() if not await self._is_over(each, run_id)}

    async def asked_for(self, children: int, seconds: float) -> None:
        """Wait until so many children were asked for in all, or for so long."""
        try:
            async with asyncio.timeout(seconds):
                while self._asked < children:
                    self._more.clear()
                    await self._more.wait()
        except TimeoutError:
            pass

    async def settle(self, seconds: float) -> None:
        """Answer questions and nothing else until no run and no child is open; what is left then is on record."""
        began = time.monotonic()
        self._stopped = True
        left: list[str] = ["not looked"]
        while left and time.monotonic() - began < seconds:
            for tenant in TENANTS:
                await self._answer(tenant, self._random)
            left = [each for tenant in TENANTS for each in await self._left(tenant)]
            if left:
                await asyncio.sleep(_LOOKED_EVERY)
        self._journal.write("delegation_settled", seconds=time.monotonic() - began, left=left)

    async def _go_too_far(self, tenant: str, *, cancels: bool) -> None:
        """Give a run that waits a child that is too dear, and children that wait, too, until it may have no more."""
        parent = await self._turn(tenant, asking_task(self._id()))
        specs = [self._asking_spec(slice_) for slice_ in (TOO_MANY_TOKENS, *[_SLOW_TOKENS] * _MORE_THAN_FIT)]
        for spec in specs:
            request = pb.SpawnAgentRequest(request_id=self._id(), spec=spec, parent_run_id=parent)
            if await self._spawn(tenant, "SpawnAgent", request) == "FAN_OUT_EXCEEDED":
                break  # perhaps not the first that is too many: the runtime counts those that have begun
        if cancels:
            await self._cancel_run(tenant, parent)

    async def _is_over(self, tenant: str, run_id: str) -> bool:
        told = await self._clients[tenant].call(0, "runs", "GetRun", GetRunRequest(run_id=run_id))
        return told.ok and told.response.run.state not in _OPEN_RUNS

    async def _left(self, tenant: str) -> list[str]:
        """Runs and children that are open, or that nobody can tell of."""
        runs = await self._clients[tenant].call(0, "runs", "ListRuns", ListRunsRequest(states=_OPEN_RUNS, page_size=50))
        spawns = await self._spawners[tenant].call(
            "ListSpawns", pb.ListSpawnsRequest(states=_OPEN_SPAWNS, page_size=50)
        )
        if not runs.ok or not spawns.ok:
            return ["a service that does not answer"]
        found = [each.run_id for each in runs.response.runs]
        return [*found, *(each.spawn_id for each in spawns.response.spawns)]

    # --- one actor ---

    async def _act(self, tenant: str, random: Random) -> None:
        deeds: dict[str, Callable[[str, Random], Any]] = {
            "lead": self._lead,
            "root": self._root,
            "group": self._group,
            "under": self._under,
            "again": self._again,
            "cancel": self._cancel,
            "answer": self._answer,
        }
        names, weights = zip(*_DEEDS, strict=True)
        while not self._stopped:
            await deeds[random.choices(names, weights)[0]](tenant, random)
            await self._room()

    async def _room(self) -> None:
        """Wait until not too much is open."""
        while not self._stopped:
            async with self._looking:
                if time.monotonic() - self._looked_at > _LOOKED_EVERY:
                    self._open = sum([len(await self._left(tenant)) for tenant in TENANTS])
                    self._looked_at = time.monotonic()
            if self._open < _MOST_OPEN:
                return
            await asyncio.sleep(_LOOKED_EVERY)

    async def _lead(self, tenant: str, random: Random) -> None:
        self._leads, task = self._leads + 1, lead_task(self._id(), random, self._leads)
        run_id = await self._turn(tenant, task)
        if run_id:
            known = self._known[tenant]
            (known.waiting if task.waits else known.leads).append(run_id)
            self._count(task.children)

    async def _turn(self, tenant: str, task: Task) -> str:
        """Give a lead a task; its run, or empty where nobody has said."""
        marker = task.text.split(maxsplit=1)[0]
        request = StartTurnRequest(
            request_id=marker,
            thread_id=f"t{marker}",
            create_if_missing=True,
            turn=Turn(
                agent=AgentReference(agent_id=LEAD),
                content=[ContentPart(text=task.text)],
                limits=Limits(tokens=task.tokens),
            ),
        )
        told = await self._clients[tenant].persist("agent_runtime", "StartTurn", request, _first, self._over)
        return told.response.run.run_id if told.ok else ""

    async def _root(self, tenant: str, random: Random) -> None:
        request = pb.SpawnAgentRequest(request_id=self._id(), spec=self._spec(random))
        await self._spawn(tenant, "SpawnAgent", request)

    async def _group(self, tenant: str, random: Random) -> None:
        stages = [
            spawn_group_pb2.SpawnStage(children=[self._spec(random, pace=60) for _ in range(random.randint(2, 4))])
            for _ in range(random.choice((1, 1, 2)))
        ]
        ways = spawn_group_pb2.FanIn
        fan_in = random.choice((ways.FAN_IN_ALL, ways.FAN_IN_ANY, ways.FAN_IN_FIRST_N))
        spec = spawn_group_pb2.SpawnGroupSpec(group_key=self._id(), stages=stages, fan_in=fan_in)
        spec.fan_in_count = 2 if fan_in == ways.FAN_IN_FIRST_N else 0
        await self._spawn(tenant, "SpawnGroup", pb.SpawnGroupRequest(request_id=self._id(), spec=spec))

    async def _under(self, tenant: str, random: Random) -> None:
        """Give children to a run that waits for somebody else; now and then more than it may have."""
        if not self._known[tenant].waiting:
            return
        parent = random.choice(self._known[tenant].waiting[-8:])
        self._crowded += 1
        if self._crowded % _CROWDED_EVERY == 1:
            await self._crowd(tenant, self._known[tenant].waiting[-1], cancels=random.random() < 0.5)
            return
        for _ in range(random.randint(1, 3)):
            spec = self._spec(random, pace=30)
            policies = spawn_pb2.CancelPolicy
            spec.cancel_policy = random.choice((policies.CANCEL_POLICY_CASCADE, policies.CANCEL_POLICY_ABANDON))
            spec.budget.tokens = random.choice((40, 60, 120, 400))
            request = pb.SpawnAgentRequest(request_id=self._id(), spec=spec, parent_run_id=parent)
            if await self._spawn(tenant, "SpawnAgent", request) in ("PARENT_FINISHED", "PARENT_CANCELLED"):
                self._known[tenant].waiting = [each for each in self._known[tenant].waiting if each != parent]
                return

    async def _crowd(self, tenant: str, parent: str, *, cancels: bool) -> None:
        """Give a run groups at once that do not fit beside each other, and perhaps cancel it with its children."""
        requests: list[pb.SpawnGroupRequest] = []
        for size in _TOO_MANY:
            stage = spawn_group_pb2.SpawnStage(children=[self._slow_spec() for _ in range(size)])
            spec = spawn_group_pb2.SpawnGroupSpec(group_key=self._id(), stages=[stage])
            requests.append(pb.SpawnGroupRequest(request_id=self._id(), spec=spec, parent_run_id=parent))
        await asyncio.gather(*(self._spawn(tenant, "SpawnGroup", each) for each in requests))
        if cancels:
            await asyncio.sleep(_CHILDREN_BEGIN_WITHIN)
            await self._cancel_run(tenant, parent)

    async def _spawn(self, tenant: str, method: str, request: Any) -> str:
        """Ask for a child or a group; why it was refused, or empty."""
        told = await self._spawners[tenant].persist(method, request, self._over)
        if not told.ok:
            return told.reason
        known = self._known[tenant]
        known.requests.append((method, request))
        if method == "SpawnGroup":
            known.groups.append(told.response.group.group_id)
            self._count(len(told.response.group.spawns))
        else:
            known.spawns.append(told.response.spawn.spawn_id)
            self._count(1)
        return ""

    async def _again(self, tenant: str, random: Random) -> None:
        """Ask once more for what was acknowledged: to the letter, under another id, or otherwise under its key."""
        if not self._known[tenant].requests:
            return
        method, before = random.choice(self._known[tenant].requests[-20:])
        request: Any = type(before)()
        request.CopyFrom(before)
        if random.random() < 0.7:
            request.request_id = self._id()
        if random.random() < 0.4:
            child = request.spec if method == "SpawnAgent" else request.spec.stages[0].children[0]
            child.task[0].text += " otherwise"
        await self._spawners[tenant].call(method, request)

    async def _cancel(self, tenant: str, random: Random) -> None:
        """Cancel from above, from the side, or below."""
        known, spawner = self._known[tenant], self._spawners[tenant]
        how = random.choice(("lead", "waiting", "spawn", "group", "child"))
        if how in ("lead", "waiting") and (runs := known.leads if how == "lead" else known.waiting):
            await self._cancel_run(tenant, random.choice(runs[-4:]))
        elif how == "group" and known.groups:
            request = pb.CancelSpawnRequest(request_id=self._id(), group_id=random.choice(known.groups[-4:]))
            await spawner.persist("CancelSpawn", request, self._over)
        elif how == "spawn" and known.spawns:
            request = pb.CancelSpawnRequest(request_id=self._id(), spawn_id=random.choice(known.spawns[-4:]))
            await spawner.persist("CancelSpawn", request, self._over)
        elif how == "child":
            listing = pb.ListSpawnsRequest(states=_OPEN_SPAWNS, page_size=10)
            told = await spawner.call("ListSpawns", listing)
            open_children = [each for each in told.response.spawns if each.run_id] if told.ok else []
            if open_children:
                child = random.choice(open_children)
                if random.random() < 0.5:
                    await self._cancel_run(tenant, child.run_id)
                else:
                    request = pb.CancelSpawnRequest(request_id=self._id(), spawn_id=child.spawn_id)
                    await spawner.persist("CancelSpawn", request, self._over)

    async def _cancel_run(self, tenant: str, run_id: str) -> None:
        request = CancelRunRequest(request_id=self._id(), run_id=run_id)
        await self._clients[tenant].persist("agent_runtime", "CancelRun", request, _first, self._over)

    async def _answer(self, tenant: str, random: Random) -> None:
        """Answer what people are asked; what a child's end answers is left to the spawn service."""
        client = self._clients[tenant]
        listing = ListInputsRequest(states=[InputState.INPUT_STATE_PENDING], page_size=100)
        told = await client.call(0, "inputs", "ListInputs", listing)
        for asked in told.response.inputs if told.ok else ():
            if asked.kind in _FOR_PEOPLE and (self._stopped or random.random() < 0.04):
                answer = InputAnswer(text=f"answer {random.randrange(1000)}")
                request = ResolveInputRequest(request_id=self._id(), input_id=asked.input_id, answer=answer)
                await client.persist("agent_runtime", "ResolveInput", request, _first, self._over)

    # --- what they have to hand ---

    def _spec(self, random: Random, *, pace: int = 20) -> spawn_pb2.SpawnSpec:
        key = self._id()
        task = [ContentPart(text=leaf_text(key, random, pace=pace))]
        return spawn_pb2.SpawnSpec(spawn_key=key, agent_id=random.choice(HANDS), task=task)

    def _slow_spec(self) -> spawn_pb2.SpawnSpec:
        key = self._id()
        task, slice_ = [ContentPart(text=slow_text(key))], spawn_pb2.BudgetSlice(tokens=_SLOW_TOKENS)
        return spawn_pb2.SpawnSpec(spawn_key=key, agent_id=HANDS[0], task=task, budget=slice_)

    def _asking_spec(self, tokens: int) -> spawn_pb2.SpawnSpec:
        key = self._id()
        task, slice_ = [ContentPart(text=asking_task(key).text)], spawn_pb2.BudgetSlice(tokens=tokens)
        return spawn_pb2.SpawnSpec(spawn_key=key, agent_id=HANDS[0], task=task, budget=slice_)

    def _count(self, children: int) -> None:
        self._asked += children
        self._more.set()

    def _over(self) -> bool:
        return self._stopped

    def _id(self) -> str:
        self._ids += 1
        return f"d{self._ids:05}"


@asynccontextmanager
async def delegators(world: World, address: str) -> AsyncGenerator[Delegators]:
    """Clients of the spawn service at an address."""
    async with spawn_stub(address) as stub:
        yield Delegators(world, stub)


def _first() -> int:
    return 0
