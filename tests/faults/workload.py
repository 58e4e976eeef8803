"""What clients do, seeded: turns of every kind, rejoined, cancelled, answered, steered, retried and watched."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from heddle.runtime.v1.agent_pb2 import AgentSpec, ToolProvider
from heddle.runtime.v1.agent_runtime_pb2 import (
    CancelRunRequest,
    GetSnapshotRequest,
    ResolveInputRequest,
    StartStreamingTurnRequest,
    StartTurnRequest,
)
from heddle.runtime.v1.agent_service_pb2 import CreateAgentRequest
from heddle.runtime.v1.input_pb2 import InputState
from heddle.runtime.v1.input_service_pb2 import ListInputsRequest
from heddle.runtime.v1.run_service_pb2 import GetRunRequest, RetryRunRequest
from heddle.runtime.v1.thread_service_pb2 import (
    DeleteThreadRequest,
    ForkThreadRequest,
    ListMessagesRequest,
    RedactMessageRequest,
    WatchThreadRequest,
)
from heddle.runtime.v1.tool_provider_service_pb2 import CreateToolProviderRequest
from heddle.runtime.v1.turn_pb2 import ConflictPolicy
from tests.faults.clients import Channels, Client
from tests.faults.journal import Journal
from tests.faults.temper import Temper
from tests.faults.wording import answer_to, picked, turn_of

AGENT, PROVIDER = "weaver", "ledger"
TENANTS = ("acme", "zeta")

_TOOLS = ("write", "slow", "once", "read", "peek", "asked", "later")

_LOOKS_TOGETHER = 4


@dataclass
class Crowd:
    """The clients of one cell, and what they remember of what they have done."""

    channels: Channels
    journal: Journal
    random: Random
    nodes: int
    temper: Temper = field(default_factory=Temper)
    acknowledged: int = 0
    """Turns that were."""
    reachable: set[int] = field(default_factory=set)
    """Nodes that clients go to; all where it is empty."""
    _stopped: bool = False
    _ids: int = 0
    _threads: dict[str, list[str]] = field(default_factory=dict)
    _uses: dict[str, int] = field(default_factory=dict)
    _turns: dict[str, list[StartTurnRequest]] = field(default_factory=dict)
    _runs: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    _answers: dict[str, list[tuple[Client, ResolveInputRequest]]] = field(default_factory=dict)
    _clients: dict[str, list[Client]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for tenant in TENANTS:
            self._clients[tenant] = [
                Client(f"{tenant}-{name}", tenant, name, self.channels, self.journal) for name in ("ann", "bob")
            ]
            self._threads[tenant] = [self.new_thread() for _ in range(self.temper.threads)]
            for mine in (self._turns, self._runs, self._answers):
                mine[tenant] = []

    async def furnish(self, tools_at: str) -> None:
        """Give each tenant its agent and its tools; patiently, since servers may be killed meanwhile."""
        paths = [f"{PROVIDER}/{tool}" for tool in _TOOLS]
        spec = AgentSpec(display_name="Weaver", instructions="Weave.", tools=[*paths, "builtin/ask_user"])
        provider = ToolProvider(provider_id=PROVIDER, grpc_target=tools_at)
        for tenant in TENANTS:
            client = self._clients[tenant][0]
            made = CreateToolProviderRequest(request_id="provider", provider=provider)
            told = await client.persist("tool_providers", "CreateToolProvider", made, self._node, self._over)
            assert told.ok, f"no tools: {told}"
            agent = CreateAgentRequest(request_id="agent", agent_id=AGENT, spec=spec)
            told = await client.persist("agents", "CreateAgent", agent, self._node, self._over)
            assert told.ok, f"no agent: {told}"

    async def bustle(self) -> None:
        """Do things, until `rest` is called."""
        self._stopped = False
        seeds = [self.random.getrandbits(32) for _ in range(self.temper.actors)]
        async with asyncio.TaskGroup() as actors:
            for place, seed in enumerate(seeds):
                actors.create_task(self._act(TENANTS[place % len(TENANTS)], Random(seed)))

    async def start_one_by_one(self, times: int) -> list[str]:
        """Start so many turns on threads of their own, each after the answer to the one before; their runs."""
        runs: list[str] = []
        for _ in range(times):
            request = self._turn(TENANTS[0], self.random)
            request.thread_id = self.new_thread()
            client = self._clients[TENANTS[0]][0]
            told = await client.call(0, "agent_runtime", "StartTurn", request, seconds=60)
            if told.ok:
                self._remember(TENANTS[0], told.response.run)
                runs.append(told.response.run.run_id)
        return runs

    async def say_much(self, times: int, characters: int, thread_id: str = "") -> None:
        """Start so many turns with so much text on one thread, and see each to its end."""
        thread_id = thread_id or self.new_thread()
        for _ in range(times):
            request = self._turn(TENANTS[0], self.random)
            request.thread_id = thread_id
            request.wait_seconds = 30
            request.turn.conflict_policy = ConflictPolicy.CONFLICT_POLICY_ENQUEUE
            del request.turn.client_tools[:]
            request.turn.content[0].text = f"{request.request_id} plan=say words=2 pace=0 " + "x" * characters
            told = await self._clients[TENANTS[0]][0].call(0, "agent_runtime", "StartTurn", request, seconds=60)
            assert told.ok, f"a long turn was refused: {told.reason}"
            self._remember(TENANTS[0], told.response.run)

    async def end_of(self, thread_id: str) -> int:
        """Where a thread's log ends."""
        request = GetSnapshotRequest(thread_id=thread_id)
        told = await self._clients[TENANTS[0]][0].call(0, "agent_runtime", "GetSnapshot", request)
        assert told.ok, f"no snapshot: {told.reason}"
        return told.response.snapshot.sequence

    async def read_ahead(self, thread_id: str, sequence: int) -> None:
        """Watch from a cursor that the log does not reach: whoever holds one must be told so."""
        request = WatchThreadRequest(thread_id=thread_id, after_sequence=sequence)
        client = self._clients[TENANTS[0]][0]
        _, _, end = await client.read(0, "threads", "WatchThread", request, after=sequence, seconds=10)
        assert end == "OUT_OF_RANGE CURSOR_AHEAD", f"a cursor ahead of the log: {end}"

    def rest(self) -> None:
        """Begin nothing more."""
        self._stopped = True

    async def answer_everything(self) -> int:
        """Answer every input that is pending; how many there were."""
        found = 0
        for tenant in TENANTS:
            found += await self._answer(tenant, self.random, most=200)
        return found

    async def look_everywhere(self) -> None:
        """Read every thread that was used from its beginning to its end, and its snapshot on every node."""
        together = asyncio.Semaphore(_LOOKS_TOGETHER)
        async with asyncio.TaskGroup() as looking:
            for tenant in TENANTS:
                for thread_id in sorted({thread for _, thread in self._runs[tenant]}):
                    looking.create_task(self._look(self._clients[tenant][0], thread_id, together))

    async def _look(self, client: Client, thread_id: str, together: asyncio.Semaphore) -> None:
        async with together:
            for node in range(self.nodes):
                await client.call(node, "agent_runtime", "GetSnapshot", GetSnapshotRequest(thread_id=thread_id))
            watch = WatchThreadRequest(thread_id=thread_id, after_sequence=0)
            node = self.random.randrange(self.nodes)
            await client.read(node, "threads", "WatchThread", watch, after=0, whole=True)

    def new_thread(self) -> str:
        """The id of a thread that nobody has used."""
        return f"t{self._id()}"

    # --- one actor ---

    async def _act(self, tenant: str, random: Random) -> None:
        deeds: dict[str, Callable[[str, Random], Any]] = {
            "start": self._start,
            "stream": self._stream,
            "again": self._again,
            "reuse": self._reuse,
            "cancel": self._cancel,
            "answer": self._answer,
            "answer_again": self._answer_again,
            "retry": self._retry,
            "watch": self._watch,
            "snapshot": self._snapshot,
            "stranger": self._stranger,
            "redact": self._redact,
            "fork": self._fork,
            "delete": self._delete,
        }
        while not self._stopped:
            await deeds[picked(random, self.temper.actions)](tenant, random)
            await asyncio.sleep(random.uniform(0, self.temper.pause))

    async def _start(self, tenant: str, random: Random) -> None:
        request = self._turn(tenant, random)
        self._turns[tenant].append(request)
        await self._send(tenant, request, persistent=random.random() < 0.8)

    async def _send(self, tenant: str, request: StartTurnRequest, *, persistent: bool) -> None:
        client = self._clients[tenant][0]
        until = self._over if persistent else lambda: True
        told = await client.persist("agent_runtime", "StartTurn", request, self._node, until)
        if told.ok:
            self.acknowledged += 1
            self._remember(tenant, told.response.run)

    async def _stream(self, tenant: str, random: Random) -> None:
        turn = self._turn(tenant, random)
        self._turns[tenant].append(turn)
        client = self._clients[tenant][0]
        request = StartStreamingTurnRequest(
            request_id=turn.request_id, thread_id=turn.thread_id, create_if_missing=True, turn=turn.turn
        )
        most = random.choice((2, 3, 5, 1_000, 1_000))
        stream, cursor, end = await client.read(
            self._node(), "agent_runtime", "StartStreamingTurn", request, after=0, most=most, seconds=3
        )
        for _ in range(4):
            if self._stopped or (end in ("OK", "left") and most == 1_000):
                break
            if end.startswith("FAILED_PRECONDITION"):
                return
            resumed = cursor > 0
            again = StartStreamingTurnRequest(request_id=turn.request_id, after_sequence=cursor) if resumed else request
            most = 1_000
            stream, cursor, end = await client.read(
                self._node(),
                "agent_runtime",
                "StartStreamingTurn",
                again,
                after=cursor,
                follows=stream if resumed else "",
                seconds=3,
            )
            await asyncio.sleep(random.uniform(0, 0.2))
        if cursor:
            await self._send(tenant, turn, persistent=False)

    async def _again(self, tenant: str, random: Random) -> None:
        if self._turns[tenant]:
            turn = random.choice(self._turns[tenant][-40:])
            await self._send(tenant, turn, persistent=random.random() < 0.5)

    async def _reuse(self, tenant: str, random: Random) -> None:
        if self._turns[tenant]:
            other = StartTurnRequest()
            other.CopyFrom(random.choice(self._turns[tenant][-40:]))
            other.turn.content[0].text += " otherwise"
            await self._clients[tenant][0].call(self._node(), "agent_runtime", "StartTurn", other)

    async def _cancel(self, tenant: str, random: Random) -> None:
        request = CancelRunRequest(request_id=self._id())
        how = random.random()
        if how < 0.6 and self._runs[tenant]:
            request.run_id = random.choice(self._runs[tenant][-12:])[0]
        elif how < 0.8 and self._turns[tenant]:
            request.turn_request_id = random.choice(self._turns[tenant][-12:]).request_id
        else:
            request.thread_id = random.choice(self._threads[tenant])
        await self._clients[tenant][0].persist("agent_runtime", "CancelRun", request, self._node, self._over)

    async def _answer(self, tenant: str, random: Random, most: int = 5) -> int:
        client = self._clients[tenant][0]
        listing = ListInputsRequest(states=[InputState.INPUT_STATE_PENDING], page_size=most)
        told = await client.call(self._node(), "inputs", "ListInputs", listing)
        asked = list(told.response.inputs) if told.ok else []
        for each in asked:
            rivals = random.choice((1, 1, 2))
            await asyncio.gather(*(self._resolve(tenant, each, random, rival) for rival in range(rivals)))
        return len(asked)

    async def _resolve(self, tenant: str, asked: Any, random: Random, rival: int) -> None:
        client = self._clients[tenant][rival]
        request = ResolveInputRequest(request_id=self._id(), input_id=asked.input_id, answer=answer_to(asked, random))
        told = await client.persist("agent_runtime", "ResolveInput", request, self._node, self._over)
        if told.ok:
            self._answers[tenant].append((client, request))

    async def _answer_again(self, tenant: str, random: Random) -> None:
        if not self._answers[tenant]:
            return
        client, won = random.choice(self._answers[tenant][-20:])
        again, other = ResolveInputRequest(), ResolveInputRequest()
        again.CopyFrom(won)
        if random.random() < 0.5:
            again.request_id = self._id()
        other.CopyFrom(won)
        other.request_id = self._id()
        other.answer.text += " and more"
        for request in (again, other):
            await client.call(self._node(), "agent_runtime", "ResolveInput", request)

    async def _retry(self, tenant: str, random: Random) -> None:
        if self._runs[tenant]:
            run_id, _ = random.choice(self._runs[tenant][-30:])
            request = RetryRunRequest(request_id=self._id(), run_id=run_id)
            client = self._clients[tenant][0]
            told = await client.persist("runs", "RetryRun", request, self._node, self._over)
            if told.ok:
                self._remember(tenant, told.response.run)

    async def _watch(self, tenant: str, random: Random) -> None:
        if not self._runs[tenant]:
            return
        thread_id = random.choice(self._runs[tenant][-20:])[1]
        client = self._clients[tenant][1]
        stream, cursor = "", random.choice((0, 0, random.randrange(12)))
        for _ in range(random.choice((1, 2, 3))):
            request = WatchThreadRequest(thread_id=thread_id, after_sequence=cursor)
            stream, cursor, end = await client.read(
                self._node(),
                "threads",
                "WatchThread",
                request,
                after=cursor,
                follows=stream,
                most=random.choice((2, 5, 1_000)),
                seconds=random.uniform(0.1, 1.0),
            )
            if end.startswith("OUT_OF_RANGE"):
                return

    async def _snapshot(self, tenant: str, random: Random) -> None:
        if self._runs[tenant]:
            request = GetSnapshotRequest(thread_id=random.choice(self._runs[tenant][-20:])[1])
            told = await self._clients[tenant][0].call(self._node(), "agent_runtime", "GetSnapshot", request)
            if told.ok and random.random() < 0.5:
                request.at_sequence = random.randint(1, told.response.snapshot.sequence)
                await self._clients[tenant][0].call(self._node(), "agent_runtime", "GetSnapshot", request)

    async def _stranger(self, tenant: str, random: Random) -> None:
        """Ask for what belongs to the other tenant, and for what belongs to nobody."""
        other = TENANTS[1 - TENANTS.index(tenant)]
        if not self._runs[other]:
            return
        run_id, thread_id = random.choice(self._runs[other])
        client, node = self._clients[tenant][0], self._node()
        for run, thread in ((run_id, thread_id), (run_id[:-4] + "none", thread_id[:-4] + "none")):
            await client.call(node, "runs", "GetRun", GetRunRequest(run_id=run))
            await client.call(node, "agent_runtime", "GetSnapshot", GetSnapshotRequest(thread_id=thread))
            cancel = CancelRunRequest(request_id=self._id(), run_id=run)
            await client.call(node, "agent_runtime", "CancelRun", cancel)

    async def _redact(self, tenant: str, random: Random) -> None:
        if not self._runs[tenant]:
            return
        thread_id = random.choice(self._runs[tenant][-20:])[1]
        client = self._clients[tenant][0]
        told = await client.call(self._node(), "threads", "ListMessages", ListMessagesRequest(thread_id=thread_id))
        if told.ok and told.response.messages:
            message_id = random.choice(told.response.messages).message_id
            request = RedactMessageRequest(request_id=self._id(), thread_id=thread_id, message_id=message_id)
            await client.call(self._node(), "threads", "RedactMessage", request)

    async def _fork(self, tenant: str, random: Random) -> None:
        """Fork a thread where its last run has ended, and go on in the fork."""
        if self._runs[tenant]:
            source = random.choice(self._runs[tenant][-20:])[1]
            request = ForkThreadRequest(request_id=self._id(), source_thread_id=source, thread_id=self.new_thread())
            client = self._clients[tenant][0]
            told = await client.persist("threads", "ForkThread", request, self._node, self._over)
            if told.ok:
                self._threads[tenant][random.randrange(len(self._threads[tenant]))] = request.thread_id

    async def _delete(self, tenant: str, random: Random) -> None:
        """Delete a thread, perhaps while runs of it are under way."""
        if self._runs[tenant]:
            thread_id = random.choice(self._runs[tenant][-20:])[1]
            mine = self._threads[tenant]
            self._threads[tenant] = [self.new_thread() if each == thread_id else each for each in mine]
            request = DeleteThreadRequest(request_id=self._id(), thread_id=thread_id)
            client = self._clients[tenant][0]
            await client.persist("threads", "DeleteThread", request, self._node, self._over)

    # --- what they have to hand ---

    def _turn(self, tenant: str, random: Random) -> StartTurnRequest:
        place = random.randrange(len(self._threads[tenant]))
        thread_id = self._threads[tenant][place]
        self._uses[thread_id] = self._uses.get(thread_id, 0) + 1
        if self._uses[thread_id] >= self.temper.turns_per_thread:
            self._threads[tenant][place] = self.new_thread()
        return turn_of(AGENT, thread_id, self._id(), self.temper, random)

    def _remember(self, tenant: str, run: Any) -> None:
        if (run.run_id, run.thread_id) not in self._runs[tenant][-200:]:
            self._runs[tenant].append((run.run_id, run.thread_id))

    def _node(self) -> int:
        return self.random.choice(sorted(self.reachable)) if self.reachable else self.random.randrange(self.nodes)

    def _over(self) -> bool:
        return self._stopped

    def _id(self) -> str:
        self._ids += 1
        return f"q{self._ids:05}"
