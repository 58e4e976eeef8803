"""One model call: words out to whoever watches, and the facts that it leaves behind."""

from collections.abc import Sequence
from contextlib import aclosing
from typing import Protocol

from heddle_core.failpoints import failpoint
from heddle_core.ids import CallId
from heddle_core.usage import MicroUsd, Usage
from heddle_core.values import value
from heddle_runtime.models.port import (
    ArgumentsDelta,
    FaultKind,
    Model,
    ModelFault,
    ModelReply,
    ModelRequest,
    ModelUsage,
    ReasoningDelta,
    TextDelta,
)
from heddle_runtime.models.port import FinishReason as ModelFinish
from heddle_runtime.orchestrator.journal import Journal
from heddle_runtime.orchestrator.setup import Setup
from heddle_runtime.runs.content import Json, Text
from heddle_runtime.runs.run import FailureReason, FinishReason, RunFailure
from heddle_runtime.runs.stop import Stop
from heddle_runtime.threads.deltas import Channel, Writing
from heddle_runtime.threads.events import (
    AssistantMessageCompleted,
    ErrorRecorded,
    Payload,
    ReasoningRecorded,
    StepCompleted,
    StepStarted,
    ToolCallRequested,
)
from heddle_runtime.tools.schema import Schemas

FINISHES = {
    ModelFinish.STOP: FinishReason.STOP,
    ModelFinish.TOOL_CALLS: FinishReason.TOOL_CALLS,
    ModelFinish.LENGTH: FinishReason.LENGTH,
    ModelFinish.CONTENT_FILTER: FinishReason.CONTENT_FILTER,
    ModelFinish.OTHER: FinishReason.OTHER,
}
"""Why a model stopped, in the contract's words."""


class Models(Protocol):
    """Where models and their prices come from."""

    def open(self, name: str) -> Model:
        """The model of that name. Raises ModelFault if it cannot be used."""
        ...

    def cost(self, name: str, answered: str, usage: ModelUsage) -> MicroUsd:
        """What a reply of the model costs; zero where no price is known."""
        ...


def used_by_call(models: Models, name: str, answered: str, usage: ModelUsage) -> Usage:
    """What one call of the model `name` has consumed; `answered` is the name under which it replied."""
    return Usage(
        usage.input_tokens,
        usage.output_tokens,
        usage.cached_input_tokens,
        usage.reasoning_tokens,
        model_calls=1,
        cost=models.cost(name, answered, usage),
    )


@value
class Heard:
    """What a model call leaves behind."""

    facts: tuple[Payload, ...]
    failure: RunFailure | None = None
    """Set where another try would be of no use."""
    retry_after: float | None = None
    """Seconds that the provider asked to wait before another try; None where nothing went wrong."""


@value
class Asking:
    """One attempt at a step."""

    journal: Journal
    models: Models
    setup: Setup
    schemas: Schemas
    started: StepStarted
    after_sequence: int
    """Last fact of the thread that is on record."""

    async def ask(self, request: ModelRequest, stop: Stop, seconds: float | None) -> Heard:
        """Ask the model and stream its words.

        Args:
            request: what to ask.
            stop: tells when the run is cancelled or handed over.
            seconds: time left to the run, or None.

        Returns the facts of the reply, of the fault, or of the words so far when it was stopped or ran out of time.
        """
        step = self.started
        writing = Writing(self.journal.claim.run_id, step.step_id, step.attempt, step.message_id, self.after_sequence)
        self.journal.begin(writing)
        waiting = stop.within(seconds)
        heard: ModelReply | ModelFault | None = None
        try:
            async with waiting:
                try:
                    heard = await self._listen(request, writing)
                except ModelFault as fault:
                    heard = fault
        finally:
            self.journal.end()
        match heard:
            case ModelReply():
                return self._heard(heard, request.response_schema_json or "")
            case ModelFault() if not waiting.cut:
                return self._faulted(heard)
            case _:
                reason = FinishReason.CANCELLED if stop.is_set() else FinishReason.DEADLINE
                return Heard(tuple(self._cut_short(writing, reason)))

    async def _listen(self, request: ModelRequest, writing: Writing) -> ModelReply:
        add = writing.add
        failpoint("before_model")
        async with aclosing(self.models.open(self.setup.model).stream(request)) as events:
            async for event in events:
                match event:
                    case TextDelta():
                        add(Channel.TEXT, event.text)
                    case ReasoningDelta():
                        add(Channel.REASONING, event.text)
                    case ArgumentsDelta():
                        add(Channel.TOOL_ARGUMENTS, event.fragment, CallId(event.call_id))
                    case ModelReply():
                        failpoint("model_done")
                        return event
                failpoint("mid_stream")
        raise ModelFault(FaultKind.RETRYABLE, "the model's stream ended without a reply")

    def _heard(self, reply: ModelReply, wanted_schema: str) -> Heard:
        message_id = self.started.message_id
        facts: list[Payload] = []
        if reply.reasoning:
            facts.append(ReasoningRecorded(message_id, reply.reasoning))
        finish = FINISHES[reply.finish_reason]
        problem = "" if reply.calls else self._mismatch(reply.text, wanted_schema)
        if reply.text or not reply.calls:
            fits = wanted_schema and not problem and not reply.calls
            content = (Json(reply.text),) if fits else (Text(reply.text),)
            facts.append(AssistantMessageCompleted(message_id, content, finish_reason=finish))
        facts.append(self._completed(reply.model, reply.usage, finish))
        facts.extend(
            ToolCallRequested(CallId(call.call_id), message_id, call.tool, call.arguments_json) for call in reply.calls
        )
        if problem:
            facts.append(ErrorRecorded("OUTPUT_SCHEMA_MISMATCH", problem))
        return Heard(tuple(facts))

    def _mismatch(self, text: str, wanted_schema: str) -> str:
        """Why an answer does not fit what was asked for; a plan is asked for without a schema."""
        return " ".join(self.schemas.problems(wanted_schema, text)) if wanted_schema else ""

    def _faulted(self, fault: ModelFault) -> Heard:
        failed = StepCompleted(
            self.started.step_id,
            self.started.attempt,
            self.setup.model,
            Usage(model_calls=1),
            FinishReason.OTHER,
            str(fault),
        )
        wait = fault.retry_after.total_seconds() if fault.retry_after else 0.0
        match fault.kind:
            case FaultKind.RETRYABLE:
                return Heard((failed,), retry_after=wait)
            case FaultKind.REFUSED:
                return Heard((failed,), RunFailure(FailureReason.MODEL_REFUSED, str(fault)))
            case FaultKind.MISCONFIGURED:
                return Heard((failed,), RunFailure(FailureReason.MODEL_MISCONFIGURED, str(fault)))

    def _cut_short(self, writing: Writing, reason: FinishReason) -> Sequence[Payload]:
        """The words so far, and the bill as far as it is known: one call, tokens unknown (SEMANTICS 17)."""
        facts: list[Payload] = []
        text = writing.text()
        if text:
            message_id = self.started.message_id
            facts.append(AssistantMessageCompleted(message_id, (Text(text),), incomplete=True, finish_reason=reason))
        facts.append(self._completed(self.setup.model, ModelUsage(), reason))
        return facts

    def _completed(self, model: str, usage: ModelUsage, finish: FinishReason) -> StepCompleted:
        used = used_by_call(self.models, self.setup.model, model, usage)
        return StepCompleted(self.started.step_id, self.started.attempt, model, used, finish)
