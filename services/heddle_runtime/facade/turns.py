"""How a turn gets in: resolved against agent and thread, bounded, accepted, and started where a lane is free."""

from dataclasses import replace
from typing import Protocol

from heddle_core.clock import Clock
from heddle_core.failpoints import failpoint
from heddle_core.faults import HeddleError
from heddle_core.ids import Ids, MessageId, PrincipalId, RequestId, RunId, TenantId, ThreadId
from heddle_core.runtime_errors import RateLimited, ThreadNotFound
from heddle_core.values import value
from heddle_runtime.facade.commands import Accepted, AcceptTurn, Caller, Disposition, RequestKey
from heddle_runtime.facade.rates import Rates
from heddle_runtime.facade.titles import automatic_title
from heddle_runtime.facade.turn_rules import TurnBounds, check_turn
from heddle_runtime.lanes.beginning import Beginning
from heddle_runtime.lanes.lanes import Lanes
from heddle_runtime.runs.agent import AgentSpec, ResolvedAgent
from heddle_runtime.runs.claim import Claim
from heddle_runtime.runs.turn import AgentReference, Turn
from heddle_runtime.runs.usage import Limits
from heddle_runtime.threads.log import ThreadLog
from heddle_runtime.threads.settings import ThreadSettings
from heddle_runtime.threads.state import ThreadFold
from heddle_runtime.tools.schema import Schemas


class TurnStore(Protocol):
    """What the acceptance of turns needs of the store."""

    async def accept_turn(self, command: AcceptTurn) -> Accepted:
        """Take a turn onto its thread."""
        ...

    async def find_turn(
        self, tenant: TenantId, principal: PrincipalId, request_id: RequestId
    ) -> tuple[RunId, ThreadId] | None:
        """The run that a turn's request started, with its thread."""
        ...


class AgentDirectory(Protocol):
    """Who answers a turn."""

    async def resolve(
        self, tenant: TenantId, reference: AgentReference | None, settings: ThreadSettings
    ) -> ResolvedAgent:
        """The agent that answers, at a version: the turn's, the thread's, or the default. Raises AgentNotFound."""
        ...


class ModelDirectory(Protocol):
    """Which models there are."""

    def require(self, model: str) -> None:
        """Raise ModelNotFound unless the model is known here."""
        ...


@value
class IncomingTurn:
    """A turn as it was asked for."""

    caller: Caller
    key: RequestKey
    turn: Turn
    thread_id: ThreadId = ThreadId("")
    create_if_missing: bool = False
    etag: str = ""
    retry_of: RunId = RunId("")


@value
class ResolvedTurn:
    """A turn with everything that was left open filled in."""

    turn: Turn
    agent: AgentSpec
    thread: ThreadFold | None = None
    """Where it stands; None: on a thread that is made with it."""


@value
class TurnSettings:
    """Bounds and defaults of this deployment."""

    bounds: TurnBounds
    default_limits: Limits
    """Where neither turn nor agent says anything."""
    most_limits: Limits
    """What no turn may exceed; zero: no bound."""
    default_model: str
    most_depth: int = 3
    most_children: int = 8


class Turns:
    """The way in for turns."""

    def __init__(
        self,
        store: TurnStore,
        log: ThreadLog,
        lanes: Lanes,
        agents: AgentDirectory,
        models: ModelDirectory,
        schemas: Schemas,
        rates: Rates,
        clock: Clock,
        ids: Ids,
        settings: TurnSettings,
    ) -> None:
        self._store = store
        self._log = log
        self._lanes = lanes
        self._agents = agents
        self._models = models
        self._schemas = schemas
        self._rates = rates
        self._clock = clock
        self._ids = ids
        self._settings = settings

    def thread_id_for(self, asked: IncomingTurn) -> ThreadId:
        """The thread that a turn will be on: the named one, or a new id."""
        return asked.thread_id or ThreadId(self._ids.new("thr"))

    async def start(self, asked: IncomingTurn, thread_id: ThreadId | None = None) -> Accepted:
        """Accept a turn, and start its run here if its lane is free.

        Args:
            asked: the turn.
            thread_id: what `thread_id_for` gave, where the caller has asked it already.

        Raises:
            InvalidField, AgentNotFound, ModelNotFound, ThreadNotFound, ThreadIsArchived, ThreadBusy, EtagMismatch,
            RequestIdReused, RequestCancelled, RateLimited, ParentCancelled, ParentFinished, DepthExceeded,
            FanOutExceeded, BudgetExceeded.
        """
        check_turn(asked.turn, self._settings.bounds, self._schemas)
        await self._respect_rate(asked)
        thread_id = thread_id or self.thread_id_for(asked)
        turn, beginning = await self._resolved_or_known(asked, thread_id)
        accepted = await self._store.accept_turn(
            AcceptTurn(
                caller=asked.caller,
                key=asked.key,
                run_id=RunId(self._ids.new("run")),
                thread_id=thread_id,
                may_create=asked.create_if_missing or not asked.thread_id,
                turn=turn,
                etag=asked.etag,
                worker_id=self._lanes.worker_id if self._lanes.accepts else type(self._lanes.worker_id)(""),
                beginning=beginning.facts if beginning else (),
                retry_of=asked.retry_of,
                most_depth=self._settings.most_depth,
                most_children=self._settings.most_children,
                title=automatic_title(asked.turn.content),
            )
        )
        failpoint("committed_unanswered")
        self._begin(accepted, beginning)
        return accepted

    async def validate(self, asked: IncomingTurn) -> ResolvedTurn:
        """Say what a turn would be, and start nothing.

        Raises:
            InvalidField, ThreadNotFound, AgentNotFound, ModelNotFound.
        """
        check_turn(asked.turn, self._settings.bounds, self._schemas)
        return await self.resolve(asked)

    async def resolve(self, asked: IncomingTurn) -> ResolvedTurn:
        """Fill in agent version, model, limits and message id.

        Raises:
            ThreadNotFound, AgentNotFound, ModelNotFound.
        """
        thread = await self._thread(asked)
        settings = thread.settings if thread else ThreadSettings()
        turn = asked.turn
        agent = await self._agents.resolve(asked.caller.tenant, turn.agent, settings)
        model = turn.model or settings.model or agent.spec.model or self._settings.default_model
        self._models.require(model)
        limits = (turn.limits or Limits()).within(agent.spec.limits or Limits())
        return ResolvedTurn(
            replace(
                turn,
                agent=AgentReference(agent.agent_id, agent.version),
                model=model,
                limits=limits.or_else(self._settings.default_limits).within(self._settings.most_limits),
                message_id=turn.message_id or MessageId(self._ids.new("msg")),
            ),
            agent.spec,
            thread,
        )

    async def _resolved_or_known(self, asked: IncomingTurn, thread_id: ThreadId) -> tuple[Turn, Beginning | None]:
        """The turn with everything filled in, and how it begins; or as it was asked for, where it has a run already.

        What a repeat names may be archived or gone by now, and it is answered with its run all the same (P7).
        """
        try:
            found = await self.resolve(asked)
            if not self._lanes.accepts or asked.retry_of:
                return found.turn, None
            begins = self._lanes.beginning(asked.caller.tenant, thread_id, found.thread, found.turn, found.agent)
            return found.turn, begins
        except HeddleError:
            caller = asked.caller
            if await self._store.find_turn(caller.tenant, caller.actor.principal, asked.key.request_id) is None:
                raise
            return asked.turn, None

    def _begin(self, accepted: Accepted, beginning: Beginning | None) -> None:
        run = accepted.run
        if accepted.claimed:
            claim = Claim(run.tenant, run.thread_id, run.run_id, self._lanes.worker_id, run.fence, run.attempt)
            self._lanes.start(claim, beginning)
        elif accepted.disposition is Disposition.QUEUED:
            self._lanes.ring(run.tenant, run.thread_id)

    async def _thread(self, asked: IncomingTurn) -> ThreadFold | None:
        """The thread that a turn is on; None if it is made with the turn."""
        if not asked.thread_id:
            return None
        try:
            return await self._log.fold(asked.caller.tenant, asked.thread_id)
        except ThreadNotFound:
            if asked.create_if_missing:
                return None
            raise

    async def _respect_rate(self, asked: IncomingTurn) -> None:
        """Count a new turn against its principal's rate; a repeat of an accepted one costs nothing."""
        caller = asked.caller
        if self._rates.admit(caller.tenant, caller.actor.principal, self._clock.monotonic()):
            return
        known = await self._store.find_turn(caller.tenant, caller.actor.principal, asked.key.request_id)
        if known is None:
            raise RateLimited(caller.actor.principal, self._rates.per_minute)
