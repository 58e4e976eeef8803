"""One example of the property suite: a tenant of its own, its threads, and everything that its clients do there."""

import asyncio
from collections.abc import Awaitable, Sequence
from random import Random
from typing import Any

from heddle.runtime.v1.agent_pb2 import AgentSpec
from heddle.runtime.v1.agent_runtime_pb2 import (
    CancelRunRequest,
    GetSnapshotRequest,
    StartStreamingTurnRequest,
    StartTurnRequest,
    TurnDisposition,
)
from heddle.runtime.v1.agent_service_pb2 import CreateAgentRequest
from heddle.runtime.v1.run_pb2 import RunState
from heddle.runtime.v1.run_service_pb2 import (
    BatchCancelRunsRequest,
    ListRunsRequest,
    RetryRunRequest,
    WaitRunRequest,
)
from heddle.runtime.v1.thread_service_pb2 import (
    ArchiveThreadRequest,
    ForkThreadRequest,
    ListMessagesRequest,
    RedactMessageRequest,
    UnarchiveThreadRequest,
    WatchThreadRequest,
)
from heddle.runtime.v1.turn_pb2 import ConflictPolicy
from tests.kit.forked_runtime import ServerProcess
from tests.kit.property_calls import Client, Outcome, Told
from tests.kit.property_invariants import check_invariants
from tests.kit.property_log import Tables, check_chain, read_tables
from tests.kit.property_readers import Reader
from tests.kit.property_scenario import AGENT, TOOLS, content, turn
from tests.kit.property_told import check_calls, check_readers
from tests.kit.property_views import check_views

ANN, BOB = "ann", "bob"
STRANGERS = "strangers"
"""A tenant that owns nothing."""

REPEATABLE = {
    "CancelRun": "agent_runtime",
    "RetryRun": "runs",
    "ForkThread": "threads",
    "ArchiveThread": "threads",
    "UnarchiveThread": "threads",
    "RedactMessage": "threads",
}
"""Commands beside the turns and answers, with their services."""

TERMINAL = (RunState.RUN_STATE_COMPLETED, RunState.RUN_STATE_FAILED, RunState.RUN_STATE_CANCELLED)
OPEN = (RunState.RUN_STATE_QUEUED, RunState.RUN_STATE_RUNNING, RunState.RUN_STATE_WAITING)

_SETTLES_WITHIN = 25.0
"""Seconds until all runs have ended that were cancelled: 10 by P13, and a slow machine."""


class World:
    """The clients of one tenant, and what they know."""

    def __init__(self, server: ServerProcess, tenant: str) -> None:
        self.server = server
        self.tenant = tenant
        self.journal: list[Told] = []
        self.threads = ["t0", "t1"]
        self.made: set[str] = set()
        """Threads that are known to exist."""
        self.archived: set[str] = set()
        self.turns: list[StartTurnRequest] = []
        self.runs: list[str] = []
        self.inputs: list[Any] = []
        self.readers: list[Reader] = []
        self._ids = 0

    async def open(self) -> None:
        """Connect, and make the agent."""
        self._connect()
        spec = AgentSpec(display_name="Weaver", instructions="Weave.", tools=TOOLS)
        request = CreateAgentRequest(request_id="agent", agent_id=AGENT, spec=spec)
        await self.ann.read("agents", "CreateAgent", request)

    async def close(self) -> None:
        """Hang up everything."""
        for reader in self.readers:
            await reader.leave()
        for client in (self.ann, self.bob, self.stranger):
            await client.close()

    # --- turns ---

    async def start(self, thread_id: str, kind: str, policy: ConflictPolicy.ValueType, *, plans: bool = False) -> None:
        """Start a turn with a unary call."""
        request = self._request(thread_id, kind, policy, plans=plans)
        self.turns.append(request)
        told = await self.send(request)
        if told.outcome is Outcome.REFUSED:
            busy = policy == ConflictPolicy.CONFLICT_POLICY_REJECT
            may = {"THREAD_BUSY"} if busy else set[str]()
            may |= {"THREAD_IS_ARCHIVED"} if thread_id in self.archived else set()
            assert told.reason in may, f"{told}"

    async def send(self, request: StartTurnRequest) -> Told:
        """Send a StartTurn, new or not."""
        told = await self.ann.call("agent_runtime", "StartTurn", request)
        if told.done and not request.validate_only:
            self._note_run(told.response.run)
        return told

    async def stream(
        self, thread_id: str, kind: str, policy: ConflictPolicy.ValueType, *, end_on_waiting: bool
    ) -> None:
        """Start a turn with a stream."""
        unary = self._request(thread_id, kind, policy)
        self.turns.append(unary)
        request = StartStreamingTurnRequest(
            request_id=unary.request_id,
            thread_id=thread_id,
            create_if_missing=True,
            turn=unary.turn,
            end_on_waiting=end_on_waiting,
        )
        reader = Reader(f"turn {unary.request_id}", request, of_run=True, thread_id=thread_id)
        self._open(reader, request, 0)
        await reader.until(lambda each: bool(each.run_id), 5)

    async def validate(self, thread_id: str, kind: str) -> None:
        """Ask what a turn would do."""
        request = self._request(thread_id, kind, ConflictPolicy.CONFLICT_POLICY_ENQUEUE)
        request.validate_only = True
        told = await self.send(request)
        if told.done:
            assert told.response.disposition == TurnDisposition.TURN_DISPOSITION_VALIDATED, f"{told}"
            assert not told.response.HasField("run"), f"{told}"

    async def repeat(self, request: StartTurnRequest) -> None:
        """Send a turn again to the letter."""
        before = [told for told in self.journal if told.request is request and told.done]
        told = await self.send(request)
        if before and told.outcome is not Outcome.UNKNOWN:
            assert told.done, f"{told}: it was acknowledged before"
            assert told.response.run.run_id == before[0].response.run.run_id, f"{told}: another run than before"
            assert told.response.disposition == TurnDisposition.TURN_DISPOSITION_EXISTING, f"{told}"

    async def reuse(self, request: StartTurnRequest) -> None:
        """Send another body under an id that was used."""
        known = any(told.request is request and told.done for told in self.journal)
        if known:
            other = StartTurnRequest()
            other.CopyFrom(request)
            other.turn.content[0].text += "?"
            told = await self.ann.call("agent_runtime", "StartTurn", other)
            self.journal.remove(told)  # its refusal says nothing about what the id has done
            assert told.reason == "REQUEST_ID_REUSED" or told.outcome is Outcome.UNKNOWN, f"{told}"

    async def retry(self, run_id: str, *, edited: bool) -> None:
        """Retry a run."""
        request = RetryRunRequest(request_id=self.new_id(), run_id=run_id)
        if edited:
            request.content.extend(content(self._line(), "say"))
        told = await self.ann.call("runs", "RetryRun", request)
        if told.done:
            self._note_run(told.response.run)
        elif told.outcome is Outcome.REFUSED:
            assert told.reason in ("ILLEGAL_TRANSITION", "THREAD_IS_ARCHIVED"), f"{told}"

    async def repeat_any(self, before: Told) -> None:
        """Send a command that was acknowledged again to the letter: the first answer comes, and nothing happens."""
        again = await self.ann.call(REPEATABLE[before.method], before.method, before.request)
        if again.outcome is Outcome.UNKNOWN:
            return
        assert again.done, f"{again}: it was acknowledged before"
        for name in ("cancelled", "sequence"):
            one, other = (getattr(each.response, name, None) for each in (before, again))
            assert one == other, f"{again}: first {one}, now {other}"
        for name in ("run", "thread"):
            one, other = (getattr(getattr(each.response, name, None), f"{name}_id", "") for each in (before, again))
            assert one == other, f"{again}: first {one}, now {other}"

    # --- streams ---

    async def watch(self, thread_id: str, place: float, *, deltas: bool) -> None:
        """Watch a thread from somewhere."""
        after = round(place * await self._head(thread_id))
        request = WatchThreadRequest(thread_id=thread_id, deltas=deltas)
        reader = Reader(f"watch {thread_id}", request, of_run=False, thread_id=thread_id, after=after)
        self._open(reader, request, after)
        await reader.until(lambda each: each.connections[-1].opened is not None, 5)

    async def rejoin(self, request: StartTurnRequest, place: float, *, end_on_waiting: bool) -> None:
        """Join the run of an earlier request from any cursor."""
        after = round(place * await self._head(request.thread_id))
        joined = StartStreamingTurnRequest(request_id=request.request_id, end_on_waiting=end_on_waiting)
        reader = Reader(f"rejoin {request.request_id}", joined, of_run=True, thread_id=request.thread_id, after=after)
        self._open(reader, joined, after)
        await reader.until(lambda each: bool(each.connections[-1].opened), 5)

    async def resume(self, reader: Reader) -> None:
        """Have a screen that lost its stream come back."""
        if not reader.reads:
            again = reader.request
            if reader.of_run:
                asked = reader.request
                again = StartStreamingTurnRequest(request_id=asked.request_id, end_on_waiting=asked.end_on_waiting)
            self._open(reader, again, reader.cursor, known=True)
            await reader.until(lambda each: bool(each.connections[-1].opened), 5)

    # --- control ---

    async def cancel(self, **target: str) -> Told:
        """Cancel by run_id, turn_request_id or thread_id."""
        request = CancelRunRequest(request_id=self.new_id(), **target)  # pyright: ignore[reportArgumentType]
        told = await self.ann.call("agent_runtime", "CancelRun", request)
        if told.outcome is Outcome.REFUSED:
            assert told.reason == "THREAD_NOT_FOUND" and target.get("thread_id") not in self.made, f"{told}"
        return told

    async def cancel_before_arrival(self, thread_id: str, kind: str) -> None:
        """Cancel a turn that has not been sent, then send it."""
        request = self._request(thread_id, kind, ConflictPolicy.CONFLICT_POLICY_ENQUEUE)
        told = await self.cancel(turn_request_id=request.request_id)
        if told.done:
            assert not told.response.HasField("run") and not told.response.cancelled, f"{told}"
            late = await self.send(request)
            assert late.reason == "REQUEST_CANCELLED" or late.outcome is Outcome.UNKNOWN, f"{late}"

    async def archive(self, thread_id: str) -> None:
        """Archive a thread, or bring it back."""
        if thread_id not in self.made:
            return
        archived = thread_id in self.archived
        made = UnarchiveThreadRequest if archived else ArchiveThreadRequest
        method = "UnarchiveThread" if archived else "ArchiveThread"
        self.archived.add(thread_id)  # for as long as nobody knows
        told = await self.ann.call("threads", method, made(request_id=self.new_id(), thread_id=thread_id))
        assert told.outcome is not Outcome.REFUSED, f"{told}"
        if told.done and archived:
            self.archived.discard(thread_id)

    async def fork(self, thread_id: str, place: float) -> None:
        """Fork a thread at its last boundary, or somewhere."""
        at = round(place * await self._head(thread_id)) if place < 1 else 0
        request = ForkThreadRequest(
            request_id=self.new_id(), source_thread_id=thread_id, at_sequence=at, thread_id=f"f{self._ids}"
        )
        told = await self.ann.call("threads", "ForkThread", request)
        if told.done:
            self.threads.append(told.response.thread.thread_id)
            self.made.add(told.response.thread.thread_id)
        elif told.outcome is Outcome.REFUSED:
            missing = thread_id not in self.made and told.reason == "THREAD_NOT_FOUND"
            assert told.reason in ("FORK_NOT_AT_BOUNDARY", "CONFLICT") or missing, f"{told}"

    async def redact(self, thread_id: str, pick: int) -> None:
        """Redact one of a thread's messages."""
        request = ListMessagesRequest(thread_id=thread_id, include_dropped=True)
        told = await self.ann.call("threads", "ListMessages", request)
        if told.done and told.response.messages:
            message = told.response.messages[pick % len(told.response.messages)]
            asked = RedactMessageRequest(
                request_id=self.new_id(), thread_id=thread_id, message_id=message.message_id, note="asked to"
            )
            done = await self.ann.call("threads", "RedactMessage", asked)
            assert done.outcome is not Outcome.REFUSED, f"{done}"

    async def look_for_inputs(self, thread_id: str) -> None:
        """Note what a thread waits for, once its active run waits or has ended."""
        run_id = next((run.run_id for run in await self._open_runs() if run.thread_id == thread_id), "")
        if run_id:
            await self.ann.call("runs", "WaitRun", WaitRunRequest(run_id=run_id, wait_seconds=1), seconds=0.2)
        told = await self.ann.call("agent_runtime", "GetSnapshot", GetSnapshotRequest(thread_id=thread_id))
        if told.done:
            known = {asked.input_id for asked in self.inputs}
            self.inputs += [each for each in told.response.snapshot.pending_inputs if each.input_id not in known]

    # --- the server ---

    async def kill(self, under_way: Sequence[Awaitable[None]], seconds: float) -> None:
        """Have some things under way, kill the server in the middle of them, and start it again."""
        tasks = [asyncio.ensure_future(each) for each in under_way]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        self.server.kill()
        for told in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(told, BaseException):
                raise told
        for reader in self.readers:
            await reader.until(lambda each: not each.reads, 10)
        for client in (self.ann, self.bob, self.stranger):
            await client.close()
        await self.server.start()
        self._connect()

    # --- the end ---

    async def check(self, random: Random) -> None:
        """Look at everything, let it end, and look again."""
        await self.quiet()
        await self._check(random, sequences=1, settled=False)
        await self.settle()
        for reader in self.readers:
            if not reader.of_run and reader.reads:
                head = await self._head(reader.thread_id)
                came = await reader.until(lambda each, head=head: each.cursor >= head, 10)
                assert came, f"{reader.name} stands at {reader.cursor} of {head}"
            elif reader.reads:
                assert await reader.until(lambda each: not each.reads, 10), f"{reader.name} does not end"
            await reader.leave()
        tables = await self._check(random, sequences=2, settled=True)
        open_runs = [run.run_id for run in tables.runs.values() if run.state not in TERMINAL]
        assert not open_runs, f"{open_runs} have not ended"

    async def quiet(self, seconds: float = 0.3) -> None:
        """Let runs go on for a moment, until all have ended or wait."""
        runs = await self._open_runs()
        waits = [WaitRunRequest(run_id=run.run_id, wait_seconds=1) for run in runs]
        await asyncio.gather(*(self.ann.call("runs", "WaitRun", each, seconds=seconds) for each in waits))

    async def settle(self) -> None:
        """Cancel what has not ended, again and again, until all has."""
        async with asyncio.timeout(_SETTLES_WITHIN):
            while runs := await self._open_runs():
                ids = [run.run_id for run in runs]
                request = BatchCancelRunsRequest(request_id=self.new_id(), run_ids=ids)
                await self.ann.call("runs", "BatchCancelRuns", request)
                for run_id in ids:
                    await self.ann.call("runs", "WaitRun", WaitRunRequest(run_id=run_id, wait_seconds=15))

    async def _check(self, random: Random, *, sequences: int, settled: bool) -> Tables:
        tables = read_tables(self.server.database, self.tenant)
        check_chain(tables)
        check_invariants(tables)
        check_calls(self.journal, tables)
        check_readers(self.readers, tables)
        await check_views(self.ann, tables, random, sequences=sequences, settled=settled)
        return tables

    async def _open_runs(self) -> Sequence[Any]:
        told = await self.ann.read(
            "runs", "ListRuns", ListRunsRequest(states=OPEN, page_size=1000, order_by="create_time")
        )
        return told.runs

    async def _head(self, thread_id: str) -> int:
        request = GetSnapshotRequest(thread_id=thread_id)
        request.read_mask.paths.append("sequence")
        told = await self.ann.call("agent_runtime", "GetSnapshot", request)
        if not told.done:
            assert told.reason == "THREAD_NOT_FOUND" and thread_id not in self.made, f"{told}"
            return 0
        return told.response.snapshot.sequence

    def _connect(self) -> None:
        address = self.server.address
        self.ann = Client(address, self.tenant, ANN, self.journal)
        self.bob = Client(address, self.tenant, BOB, self.journal)
        self.stranger = Client(address, STRANGERS, ANN, [])

    def _open(self, reader: Reader, request: Any, after: int, *, known: bool = False) -> None:
        if not known:
            self.readers.append(reader)
        asked = type(request)()
        asked.CopyFrom(request)
        starts = reader.of_run and request.HasField("turn")
        if not starts:
            asked.after_sequence = after
        stub = self.ann.stubs.agent_runtime.StartStreamingTurn if reader.of_run else self.ann.stubs.threads.WatchThread
        reader.open(lambda: stub(asked, metadata=self.ann.metadata), after)

    def _request(
        self, thread_id: str, kind: str, policy: ConflictPolicy.ValueType, *, plans: bool = False
    ) -> StartTurnRequest:
        return StartTurnRequest(
            request_id=self.new_id(),
            thread_id=thread_id,
            create_if_missing=True,
            turn=turn(self._line(), kind, policy, plans=plans),
        )

    def _note_run(self, run: Any) -> None:
        self.made.add(run.thread_id)
        if run.run_id not in self.runs:
            self.runs.append(run.run_id)

    def new_id(self) -> str:
        """A request id that nobody has used."""
        self._ids += 1
        return f"q{self._ids}"

    def _line(self) -> str:
        return f"m{self._ids} Zoë"
