"""Tool calls that are ready: the intent is written first, then the call is sent, then its one result is known (P8)."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from heddle_core.clock import MICROS_PER_SECOND, Clock, Micros
from heddle_core.failpoints import failpoint
from heddle_core.ids import InputId, TenantId
from heddle_core.values import value
from heddle_runtime.orchestrator.call_rules import minted_input
from heddle_runtime.orchestrator.decisions import ReadyCall
from heddle_runtime.orchestrator.journal import Journal
from heddle_runtime.orchestrator.setup import Setup
from heddle_runtime.runs.claim import Claim
from heddle_runtime.runs.content import Json, Text
from heddle_runtime.runs.inputs import InputKind, InputRequest
from heddle_runtime.runs.state import InputState
from heddle_runtime.runs.stop import Stop
from heddle_runtime.threads.events import (
    InputRequested,
    Payload,
    ToolCallCompleted,
    ToolCallOutcome,
    ToolCallProgressed,
    ToolCallStarted,
    UiBlocksOperation,
    UiBlocksUpdated,
)
from heddle_runtime.threads.state import RunFold
from heddle_runtime.tools.executor import Executor
from heddle_runtime.tools.outcomes import Asked, Deferred, Failed, InDoubt, Outcome, Replied, Stopped, TimedOut
from heddle_runtime.tools.port import CallContext, ToolInvocation, ToolProgress, ToolProvider, ToolReply
from heddle_runtime.tools.terms import terms_of


class Providers(Protocol):
    """Who serves a tool."""

    def provider(self, tenant: TenantId, provider_id: str) -> ToolProvider | None:
        """The provider of that id, or None if it is gone."""
        ...


class OwnLease(Protocol):
    """The lease of the worker that performs."""

    def require(self, claim: Claim) -> None:
        """Raises StaleFence unless the lease under which `claim` is held still holds."""
        ...


@value
class Performing:
    """The calls of one run, as its owner performs them."""

    journal: Journal
    setup: Setup
    providers: Providers
    executor: Executor
    clock: Clock
    token_secret: bytes
    """Key of the resolution tokens (SEMANTICS 2)."""
    lease: OwnLease

    def intents(self, run: RunFold, ready: Sequence[ReadyCall]) -> tuple[ToolCallStarted, ...]:
        """What must be on disk before anything is sent."""
        return tuple(
            ToolCallStarted(
                call_id=each.call.call_id,
                tool=each.spec.path,
                idempotency_key=f"{run.run_id}:{each.call.call_id}",
                arguments_digest=hashlib.sha256(each.arguments_json.encode()).hexdigest(),
                input_id=minted_input(run, each.ordinal),
                fence=self.journal.claim.fence,
                attempt=each.call.dispatches + 1,
                terms=terms_of(each.spec),
            )
            for each in ready
        )

    async def perform(
        self, run: RunFold, ready: Sequence[ReadyCall], stop: Stop, seconds: float | None
    ) -> tuple[Payload, ...]:
        """Send the calls together; results that come early are written at once, the last are returned.

        Args:
            run: the run, with its intents written.
            ready: the calls.
            stop: tells when the run is cancelled or handed over.
            seconds: time left to the run, or None.
        """
        if len(ready) == 1:
            return await self._perform_one(run, ready[0], stop, seconds)
        tasks = {asyncio.create_task(self._perform_one(run, each, stop, seconds)) for each in ready}
        try:
            while True:
                done, tasks = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                facts = tuple(fact for task in done for fact in task.result())
                if not tasks:
                    return facts
                await self.journal.append(facts)
        finally:
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)

    def token(self, tenant: TenantId, input_id: str) -> str:
        """The secret that lets its bearer answer one input."""
        return resolution_token(self.token_secret, tenant, input_id)

    async def _perform_one(
        self, run: RunFold, ready: ReadyCall, stop: Stop, seconds: float | None
    ) -> tuple[Payload, ...]:
        claim = self.journal.claim
        provider = self.providers.provider(claim.tenant, ready.spec.provider_id)
        sent_before = run.calls[ready.call.call_id].dispatches > 1
        if provider is None:
            if sent_before:
                return self._in_doubt(run, ready, "its provider was removed before anybody heard the end")
            return (_completed(ready, ToolCallOutcome.ERROR, f"{ready.spec.path} is not served any more."),)
        reports = _Reports(self.journal, ready)
        invocation = self._invocation(run, ready, seconds)
        self.lease.require(claim)
        outcome = await self.executor.perform(
            provider,
            invocation,
            report=reports.note,
            stop=stop,
            sent_before=sent_before,
        )
        failpoint("tool_done")
        await reports.finish()
        return self._facts(run, ready, outcome, invocation)

    def _invocation(self, run: RunFold, ready: ReadyCall, seconds: float | None) -> ToolInvocation:
        claim = self.journal.claim
        patience = ready.spec.deadline.total_seconds()
        patience = patience if seconds is None else min(patience, seconds)
        input_id = minted_input(run, ready.ordinal)
        context = CallContext(
            tenant=claim.tenant,
            principal=run.actor.principal,
            thread_id=claim.thread_id,
            run_id=claim.run_id,
            call_id=ready.call.call_id,
            fence=claim.fence,
            deadline=Micros(self.clock.now() + round(patience * MICROS_PER_SECOND)),
            input_id=input_id,
            resolution_token=self.token(claim.tenant, input_id),
        )
        return ToolInvocation(ready.spec, ready.arguments_json, f"{run.run_id}:{ready.call.call_id}", context)

    def _facts(
        self, run: RunFold, ready: ReadyCall, outcome: Outcome, invocation: ToolInvocation
    ) -> tuple[Payload, ...]:
        match outcome:
            case Replied(reply):
                return (_replied(ready, ToolCallOutcome.OK, reply), *_blocks(reply))
            case Failed(message, None, reason) if reason:
                return (_refused(ready, reason, message),)
            case Failed(message, reply):
                if reply is None:
                    return (_completed(ready, ToolCallOutcome.ERROR, message),)
                return (_replied(ready, ToolCallOutcome.ERROR, reply), *_blocks(reply))
            case TimedOut(message):
                return (_completed(ready, ToolCallOutcome.TIMED_OUT, message),)
            case InDoubt(message):
                return self._in_doubt(run, ready, message)
            case Stopped(confirmed):
                stopped = ToolCallOutcome.CANCELLED if confirmed else ToolCallOutcome.UNKNOWN
                return (_completed(ready, stopped, "The call was stopped because the run was."),)
            case Deferred(deferral):
                asked = self._input(ready, InputKind.EXTERNAL, invocation.context.input_id)
                return (
                    InputRequested(
                        _until(replace(asked, prompt=deferral.message or ready.spec.path), deferral.expire_time)
                    ),
                )
            case Asked(question):
                asked = self._input(ready, InputKind.QUESTION, invocation.context.input_id)
                expiry = question.expire_after or self.setup.defaults.input_expiry
                expire = Micros(self.clock.now() + round(expiry.total_seconds() * MICROS_PER_SECOND))
                asked = replace(
                    asked,
                    prompt=question.prompt,
                    options=question.options,
                    free_text=question.free_text,
                    json_schema=question.json_schema,
                    expire_time=expire,
                )
                return (InputRequested(asked),)

    def _in_doubt(self, run: RunFold, ready: ReadyCall, message: str) -> tuple[Payload, ...]:
        """UNKNOWN for what does little harm; a person reconciles what may have done more (SEMANTICS 27)."""
        if not ready.spec.asks_in_doubt:
            return (_completed(ready, ToolCallOutcome.UNKNOWN, f"{ready.spec.path} was called, and {message}."),)
        asked = self._input(ready, InputKind.RECONCILE, minted_input(run, ready.ordinal, "r"))
        prompt = f"{ready.spec.path} was called, and {message}. How did it end?"
        return (InputRequested(replace(asked, prompt=prompt)),)

    def _input(self, ready: ReadyCall, kind: InputKind, input_id: InputId) -> InputRequest:
        expiry = round(self.setup.defaults.input_expiry.total_seconds() * MICROS_PER_SECOND)
        return InputRequest(
            input_id=input_id,
            thread_id=self.journal.claim.thread_id,
            run_id=self.journal.claim.run_id,
            kind=kind,
            state=InputState.PENDING,
            call_id=ready.call.call_id,
            tool=ready.spec.path,
            arguments_json=ready.arguments_json,
            expire_time=Micros(self.clock.now() + expiry),
            default_state=InputState.CANCELLED,
        )


def resolution_token(secret: bytes, tenant: TenantId, input_id: str) -> str:
    """The secret that lets its bearer answer one input and nothing else."""
    return hmac.new(secret, f"{tenant}\n{input_id}".encode(), hashlib.sha256).hexdigest()


@dataclass(slots=True)
class _Reports:
    """Progress of one call on its way into the log: the newest at a time, so that a chatty tool costs little."""

    journal: Journal
    ready: ReadyCall
    _newest: ToolProgress | None = None
    _writing: asyncio.Task[None] | None = None

    def note(self, progress: ToolProgress) -> None:
        """Take a report; it is written unless a newer one comes first."""
        self._newest = progress
        if self._writing is None or self._writing.done():
            self._writing = asyncio.create_task(self._write())

    async def finish(self) -> None:
        """Wait until what is being written is written."""
        if self._writing is not None:
            await self._writing

    async def _write(self) -> None:
        while self._newest is not None:
            progress, self._newest = self._newest, None
            moved = ToolCallProgressed(self.ready.call.call_id, progress.fraction, progress.message)
            await self.journal.append((moved,))


def _until(asked: InputRequest, expire_time: Micros | None) -> InputRequest:
    return asked if expire_time is None else replace(asked, expire_time=expire_time)


def _completed(ready: ReadyCall, outcome: ToolCallOutcome, message: str) -> ToolCallCompleted:
    return ToolCallCompleted(ready.call.call_id, outcome, (Text(message),))


def _refused(ready: ReadyCall, reason: str, message: str) -> ToolCallCompleted:
    """In the form in which Heddle's own tools refuse, so that a program can tell the reason, too."""
    said = json.dumps({"error": reason, "message": message}, ensure_ascii=False)
    return ToolCallCompleted(ready.call.call_id, ToolCallOutcome.ERROR, (Json(said),))


def _replied(ready: ReadyCall, outcome: ToolCallOutcome, reply: ToolReply) -> ToolCallCompleted:
    cost = ready.spec.price if reply.cost is None else reply.cost
    return ToolCallCompleted(ready.call.call_id, outcome, reply.content, cost, reply.next_actions)


def _blocks(reply: ToolReply) -> tuple[UiBlocksUpdated, ...]:
    return (UiBlocksUpdated(UiBlocksOperation.ADD, reply.ui_blocks_json),) if reply.ui_blocks_json else ()
