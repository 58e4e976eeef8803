"""The fake runtime's state over all threads: who owns what, which requests were seen, how turns are accepted."""

from collections.abc import Iterator
from typing import TypeVar

from google.protobuf.message import Message

from heddle.common.v1.content_pb2 import Actor
from heddle.runtime.v1.agent_runtime_pb2 import CancelledRun, StartTurnRequest, TurnDisposition
from heddle.runtime.v1.event_pb2 import ThreadEvent
from heddle.runtime.v1.input_pb2 import InputRequest
from heddle.runtime.v1.run_events_pb2 import ChildFinished, ChildSpawned, TurnRequested, TurnSteered
from heddle.runtime.v1.run_pb2 import CancelCause, Run
from heddle.runtime.v1.thread_events_pb2 import ThreadCreated
from heddle.runtime.v1.thread_pb2 import Thread
from heddle.runtime.v1.thread_service_pb2 import CreateThreadRequest
from heddle.runtime.v1.turn_pb2 import ConflictPolicy
from heddle_client.fake_log import FakeLog
from heddle_client.fake_script import Script
from heddle_client.fake_work import FakeThread
from heddle_client.transcript_lines import ENDED_STATES
from heddle_core.clock import Clock
from heddle_core.errors import AlreadyExists, EtagMismatch, RequestIdReused, invalid
from heddle_core.ids import Ids, is_id
from heddle_core.runtime_errors import (
    InputNotFound,
    ParentCancelled,
    ParentFinished,
    RequestCancelled,
    RunNotFound,
    ThreadBusy,
    ThreadNotFound,
)
from heddle_core.values import value

Key = tuple[str, str]
"""Tenant and id: another tenant's id is unknown."""

RequestKey = tuple[str, str, str, str]
"""Tenant, principal, method, request id."""

START_TURN = "StartTurn"
"""StartTurn and StartStreamingTurn share their request ids: either may join what the other began."""

_Answer = TypeVar("_Answer", bound=Message)


@value
class FakeIdentity:
    """Who calls."""

    tenant: str
    principal: str
    acted_by: str = ""

    @property
    def actor(self) -> Actor:
        """The caller as facts name it."""
        return Actor(principal=self.principal, acted_by=self.acted_by)

    def key(self, id: str) -> Key:
        """The key of something of the caller's tenant."""
        return (self.tenant, id)

    def request_key(self, method: str, request_id: str) -> RequestKey:
        """The key of a request of the caller's."""
        return (self.tenant, self.principal, method, request_id)


@value
class Accepted:
    """What became of a turn. Nothing of it was carried out yet."""

    run_id: str
    disposition: TurnDisposition.ValueType


class FakeState:
    """All threads of all tenants."""

    def __init__(self, script: Script, clock: Clock, ids: Ids) -> None:
        self.threads: dict[Key, FakeThread] = {}
        self.clock = clock
        self._script = script
        self._ids = ids
        self._thread_of_run: dict[Key, FakeThread] = {}
        self._cascading: dict[Key, list[str]] = {}
        self._requests: dict[RequestKey, tuple[Message, bytes]] = {}
        self._turns: dict[RequestKey, tuple[StartTurnRequest, str]] = {}
        self._tombstones: set[RequestKey] = set()

    def thread(self, caller: FakeIdentity, thread_id: str) -> FakeThread:
        """Raises ThreadNotFound."""
        thread = self.threads.get(caller.key(thread_id))
        if thread is None:
            raise ThreadNotFound(thread_id)
        return thread

    def create_thread(self, caller: FakeIdentity, request: CreateThreadRequest) -> Thread:
        """A new thread with these settings. Raises AlreadyExists."""
        key = caller.key(request.thread_id or self._ids.new("thread"))
        if key in self.threads:
            raise AlreadyExists("thread", key[1])
        created = ThreadCreated(settings=request.settings, actor=caller.actor)
        return self._made(caller, key, created).fold.thread()

    def thread_of(self, caller: FakeIdentity, run_id: str) -> FakeThread:
        """The thread of a run. Raises RunNotFound."""
        thread = self._thread_of_run.get(caller.key(run_id))
        if thread is None:
            raise RunNotFound(run_id)
        return thread

    def run(self, caller: FakeIdentity, run_id: str) -> Run:
        """A copy of a run as it stands. Raises RunNotFound."""
        run = Run()
        run.CopyFrom(self.thread_of(caller, run_id).fold.runs[run_id])
        return run

    def runs(self, caller: FakeIdentity) -> Iterator[Run]:
        """Copies of all runs of the tenant, oldest first."""
        for tenant, run_id in self._thread_of_run:
            if tenant == caller.tenant:
                yield self.run(caller, run_id)

    def input(self, caller: FakeIdentity, input_id: str) -> tuple[FakeThread, InputRequest]:
        """An input and its thread. Raises InputNotFound."""
        for (tenant, _), thread in self.threads.items():
            asked = thread.fold.inputs.get(input_id)
            if asked is not None and tenant == caller.tenant:
                return thread, asked
        raise InputNotFound(input_id)

    def seen(
        self, caller: FakeIdentity, method: str, request_id: str, body: Message, kind: type[_Answer]
    ) -> _Answer | None:
        """The first answer to a request, None for a new one. Raises RequestIdReused."""
        _require_id(request_id)
        known = self._requests.get(caller.request_key(method, request_id))
        if known is None:
            return None
        if known[0] != body:
            raise RequestIdReused(request_id, method)
        return kind.FromString(known[1])

    def keep(self, caller: FakeIdentity, method: str, request_id: str, body: Message, answer: Message) -> None:
        """Remember the answer to a request."""
        self._requests[caller.request_key(method, request_id)] = (body, answer.SerializeToString())

    def run_of_request(self, caller: FakeIdentity, request_id: str) -> str | None:
        """The run that a turn's request led to; None for an unknown request."""
        known = self._turns.get(caller.request_key(START_TURN, request_id))
        return known[1] if known else None

    def bury(self, caller: FakeIdentity, request_id: str) -> None:
        """A turn's request is cancelled before it has arrived."""
        self._tombstones.add(caller.request_key(START_TURN, request_id))

    def accept(self, caller: FakeIdentity, request: StartTurnRequest) -> Accepted:
        """Accept a turn, once. Raises what StartTurn raises."""
        _require_id(request.request_id)
        body = StartTurnRequest()
        body.CopyFrom(request)
        body.wait_seconds, body.validate_only = 0, False
        key = caller.request_key(START_TURN, request.request_id)
        known = self._turns.get(key)
        if known is not None:
            if known[0] != body:
                raise RequestIdReused(request.request_id, START_TURN)
            return Accepted(known[1], TurnDisposition.TURN_DISPOSITION_EXISTING)
        if key in self._tombstones:
            raise RequestCancelled(request.request_id)
        if not request.turn.content:
            raise invalid("turn.content", "say something: 1 to 64 parts")
        accepted = self._admit(caller, request)
        self._turns[key] = (body, accepted.run_id)
        return accepted

    def cancel(
        self, caller: FakeIdentity, run_id: str, cause: CancelCause.ValueType, note: str = ""
    ) -> list[CancelledRun]:
        """Stop a run and its cascading children; lanes that are free again go on."""
        thread = self.thread_of(caller, run_id)
        rolled_back = cause == CancelCause.CANCEL_CAUSE_ROLLED_BACK
        fence = thread.cancel(run_id, cause, caller.actor, note, rolled_back=rolled_back)
        marked = [CancelledRun(run_id=run_id, thread_id=thread.log.thread_id, cancel_sequence=fence)]
        for child in self._cascading.get(caller.key(run_id), ()):
            marked += self.cancel(caller, child, CancelCause.CANCEL_CAUSE_PARENT, note)
        if cause in (CancelCause.CANCEL_CAUSE_REQUESTED, CancelCause.CANCEL_CAUSE_PARENT):
            thread.proceed()
        return marked

    def _admit(self, caller: FakeIdentity, request: StartTurnRequest) -> Accepted:
        parent = self._parent(caller, request)
        thread = self._thread_for(caller, request)
        holder, policy = thread.fold.lane, request.turn.conflict_policy
        if holder and policy == ConflictPolicy.CONFLICT_POLICY_REJECT:
            raise ThreadBusy(thread.log.thread_id, holder)
        message_id = request.turn.message_id or self._ids.new("msg")
        if holder and policy == ConflictPolicy.CONFLICT_POLICY_STEER:
            steered = TurnSteered(
                request_id=request.request_id,
                message_id=message_id,
                content=request.turn.content,
                actor=caller.actor,
            )
            thread.steer(holder, steered)
            return Accepted(holder, TurnDisposition.TURN_DISPOSITION_STEERED)
        causes = {
            ConflictPolicy.CONFLICT_POLICY_INTERRUPT: CancelCause.CANCEL_CAUSE_INTERRUPTED,
            ConflictPolicy.CONFLICT_POLICY_ROLLBACK: CancelCause.CANCEL_CAUSE_ROLLED_BACK,
        }
        cause = causes.get(policy) if holder else None
        run_id = self._ids.new("run")
        self._thread_of_run[caller.key(run_id)] = thread
        requested = TurnRequested(
            request_id=request.request_id,
            message_id=message_id,
            turn=request.turn,
            actor=caller.actor,
            root_run_id=parent.root_run_id if parent else run_id,
            depth=parent.depth + 1 if parent else 0,
            interrupts_run_id=holder if cause is not None else "",
        )
        thread.admit(run_id, requested)
        if parent is not None:
            self._adopt(caller, parent, run_id, request)
        if cause is not None:
            self.cancel(caller, holder, cause)
        queued = bool(thread.fold.lane) or thread.fold.queue[0] != run_id
        started, waits = TurnDisposition.TURN_DISPOSITION_STARTED, TurnDisposition.TURN_DISPOSITION_QUEUED
        return Accepted(run_id, waits if queued else started)

    def _thread_for(self, caller: FakeIdentity, request: StartTurnRequest) -> FakeThread:
        key = caller.key(request.thread_id or self._ids.new("thread"))
        thread = self.threads.get(key)
        if thread is not None:
            etag = thread.fold.thread().etag
            if request.etag not in ("", etag):
                raise EtagMismatch("thread", request.thread_id, request.etag, etag)
            return thread
        if request.thread_id and not request.create_if_missing:
            raise ThreadNotFound(request.thread_id)
        return self._made(caller, key, ThreadCreated(actor=caller.actor))

    def _made(self, caller: FakeIdentity, key: Key, created: ThreadCreated) -> FakeThread:
        thread = FakeThread(FakeLog(key[1], self.clock), self._script, self.clock, self._ids)
        thread.on_end = lambda run: self._child_ended(caller, run)
        thread.append("", ThreadEvent(thread_created=created))
        self.threads[key] = thread
        return thread

    def _parent(self, caller: FakeIdentity, request: StartTurnRequest) -> Run | None:
        if not request.turn.HasField("parent"):
            return None
        parent = self.run(caller, request.turn.parent.run_id)
        if parent.cancel_sequence:
            raise ParentCancelled(parent.run_id)
        if parent.state in ENDED_STATES:
            raise ParentFinished(parent.run_id)
        return parent

    def _adopt(self, caller: FakeIdentity, parent: Run, run_id: str, request: StartTurnRequest) -> None:
        reference = request.turn.parent
        if reference.cascade or not reference.HasField("cascade"):
            self._cascading.setdefault(caller.key(parent.run_id), []).append(run_id)
        child = self.run(caller, run_id)
        spawned = ChildSpawned(
            run_id=run_id, thread_id=child.thread_id, agent=request.turn.agent, budget=reference.budget
        )
        self.thread_of(caller, parent.run_id).append(parent.run_id, ThreadEvent(child_spawned=spawned))

    def _child_ended(self, caller: FakeIdentity, child: Run) -> None:
        if not child.parent_run_id:
            return
        thread = self.thread_of(caller, child.parent_run_id)
        if thread.fold.runs[child.parent_run_id].state not in ENDED_STATES:
            finished = ChildFinished(run_id=child.run_id, state=child.state, usage=child.usage)
            thread.append(child.parent_run_id, ThreadEvent(child_finished=finished))


def _require_id(request_id: str) -> None:
    if not is_id(request_id):
        raise invalid("request_id", "must be 1 to 64 of A-Z, a-z, 0-9, _ and -")
