"""The fake runtime's worker: carries out the runs of one thread, one step after the other, at once.

There is no task and no time here: a run goes as far as it can while its caller waits, and stops where it
waits for an input, or where its script holds it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from heddle.common.v1.content_pb2 import Actor, ContentPart
from heddle.common.v1.usage_pb2 import Usage
from heddle.runtime.v1 import call_events_pb2, run_events_pb2
from heddle.runtime.v1.event_pb2 import ThreadEvent
from heddle.runtime.v1.input_pb2 import InputAnswer, InputDecision, InputKind, InputRequest, InputState
from heddle.runtime.v1.run_pb2 import (
    CancelCause,
    FailureReason,
    FinishReason,
    Run,
    RunFailure,
    RunResult,
    RunState,
)
from heddle.runtime.v1.stream_pb2 import Delta, DeltaChannel
from heddle.runtime.v1.tool_call_pb2 import ToolCallOutcome
from heddle.runtime.v1.turn_pb2 import Turn
from heddle_client.fake_fold import ThreadFold
from heddle_client.fake_log import FakeLog
from heddle_client.fake_script import Call, Exchange, Reply, Script
from heddle_client.transcript_lines import ENDED_STATES, text_of
from heddle_core.clock import Clock
from heddle_core.ids import Ids

_WORKER = "fake"


@dataclass(slots=True)
class _Work:
    """What a run needs beside its facts."""

    turn: Turn
    said: str
    step: int = 0
    number: int = 0
    results: list[str] = field(default_factory=list[str])
    open_calls: dict[str, tuple[str, Call]] = field(default_factory=dict[str, tuple[str, Call]])
    """By input id: the call's id, and the call."""
    held: tuple[str, str, Reply] | None = None
    """Step id, message id and reply that its script holds."""
    steered: list[str] = field(default_factory=list[str])


class FakeThread:
    """One thread: its log, its fold, and the work of its runs."""

    def __init__(self, log: FakeLog, script: Script, clock: Clock, ids: Ids) -> None:
        self.log = log
        self.fold = ThreadFold()
        self.on_end: Callable[[Run], None] = lambda run: None
        """Told of each run that ended."""
        self._script = script
        self._clock = clock
        self._ids = ids
        self._work: dict[str, _Work] = {}

    def append(self, run_id: str, *payloads: ThreadEvent) -> ThreadEvent:
        """Commit facts and fold them."""
        first = self.log.last
        for payload in payloads:
            self.log.append(run_id, payload)
        for event in self.log.events[first:]:
            self.fold.add(event)
        return self.log.events[-1]

    def admit(self, run_id: str, requested: run_events_pb2.TurnRequested) -> None:
        """Accept a turn; it is worked on when `proceed` is called and the lane is free."""
        self.append(run_id, ThreadEvent(turn_requested=requested))
        self._work[run_id] = _Work(requested.turn, text_of(requested.turn.content))

    def steer(self, run_id: str, steered: run_events_pb2.TurnSteered) -> None:
        """Give a message to the active run before its next step."""
        self.append(run_id, ThreadEvent(turn_steered=steered))
        self._work[run_id].steered.append(text_of(steered.content))

    def proceed(self) -> None:
        """Claim what may be claimed, and carry it out as far as it goes."""
        while not self.fold.lane and (run_id := self._due()):
            run = self.fold.runs[run_id]
            started = run_events_pb2.RunStarted(attempt=1, fence=1, worker_id=_WORKER, agent=run.agent, model=run.model)
            self.append(run_id, ThreadEvent(run_started=started))
            self._carry_out(run_id)

    def go_on(self, run_id: str) -> None:
        """Let a run go on that its script holds."""
        work = self._work.get(run_id)
        if work is not None and work.held is not None:
            step_id, message_id, reply = work.held
            work.held = None
            if self._finish_step(run_id, work, step_id, message_id, reply):
                self._carry_out(run_id)
            self.proceed()

    def resolve(self, asked: InputRequest, answer: InputAnswer, actor: Actor) -> None:
        """Take the answer of a pending input; the run goes on when it was the last."""
        state = _resolved_state(answer)
        resolved = call_events_pb2.InputResolved(input_id=asked.input_id, state=state, answer=answer, actor=actor)
        self.append(asked.run_id, ThreadEvent(input_resolved=resolved))
        work = self._work[asked.run_id]
        call_id, call = work.open_calls.pop(asked.input_id)
        if state == InputState.INPUT_STATE_APPROVED:
            self._start_call(asked.run_id, call_id, call, self._ids.new("input"))
        self._end_call(asked.run_id, work, call_id, *_outcome(asked, answer, call))
        if not work.open_calls:
            attempt = self.fold.runs[asked.run_id].attempt + 1
            resumed = run_events_pb2.RunResumed(attempt=attempt, fence=attempt, worker_id=_WORKER)
            self.append(asked.run_id, ThreadEvent(run_resumed=resumed))
            self._carry_out(asked.run_id)
            self.proceed()

    def cancel(
        self,
        run_id: str,
        cause: CancelCause.ValueType,
        actor: Actor,
        note: str = "",
        *,
        rolled_back: bool = False,
    ) -> int:
        """Stop a run; returns the sequence after which no tool call of it starts, 0 if it had ended."""
        run = self.fold.runs[run_id]
        if run.state in ENDED_STATES:
            return 0
        asked = run_events_pb2.RunCancelRequested(cause=cause, actor=actor, note=note)
        fence = self.append(run_id, ThreadEvent(run_cancel_requested=asked)).sequence
        work = self._work[run_id]
        if work.held is not None:
            self._keep_words(run_id, work.held[1], work.held[2].text)
            work.held = None
        for input_id, (call_id, _) in work.open_calls.items():
            void = call_events_pb2.InputResolved(input_id=input_id, state=InputState.INPUT_STATE_CANCELLED)
            self.append(run_id, ThreadEvent(input_resolved=void))
            self._end_call(run_id, work, call_id, ToolCallOutcome.TOOL_CALL_OUTCOME_CANCELLED, [])
        work.open_calls.clear()
        ended = run_events_pb2.RunCancelled(cause=cause, rolled_back=rolled_back, usage=run.usage)
        self._end(run_id, ThreadEvent(run_cancelled=ended))
        return fence

    def unfinished(self, run_id: str = "") -> list[Delta]:
        """The words of messages that have no fact yet, of one run or of all, each from its first byte."""
        return [
            self._delta(each, work.number, step_id, message_id, 0, reply.text)
            for each, work in self._work.items()
            if run_id in ("", each) and work.held is not None
            for step_id, message_id, reply in [work.held]
            if reply.text
        ]

    def _due(self) -> str:
        if not self.fold.queue:
            return ""
        head = self.fold.runs[self.fold.queue[0]]
        return head.run_id if head.not_before.ToMicroseconds() <= self._clock.now() else ""

    def _carry_out(self, run_id: str) -> None:
        work = self._work[run_id]
        while self._step(run_id, work):
            pass

    def _step(self, run_id: str, work: _Work) -> bool:
        """One model call. Returns whether the run goes on with another."""
        if work.steered:
            work.said, work.step = work.steered[-1], 0
            work.steered.clear()
        reply = self._script(Exchange(work.said, work.step, tuple(work.results)))
        work.step += 1
        work.number += 1
        step_id, message_id = self._ids.new("step"), self._ids.new("msg")
        started = run_events_pb2.StepStarted(
            step_id=step_id, number=work.number, attempt=1, message_id=message_id, model="scripted"
        )
        self.append(run_id, ThreadEvent(step_started=started))
        offset = 0
        for piece in reply.cut():
            self.log.write(self._delta(run_id, work.number, step_id, message_id, offset, piece))
            offset += len(piece.encode())
        if reply.holds:
            work.held = (step_id, message_id, reply)
            return False
        return self._finish_step(run_id, work, step_id, message_id, reply)

    def _finish_step(self, run_id: str, work: _Work, step_id: str, message_id: str, reply: Reply) -> bool:
        if reply.fails != FailureReason.FAILURE_REASON_UNSPECIFIED:
            failure = RunFailure(reason=reply.fails, message="the script says so")
            self._end(run_id, ThreadEvent(run_failed=run_events_pb2.RunFailed(failure=failure)))
            return False
        reason = FinishReason.FINISH_REASON_TOOL_CALLS if reply.calls else FinishReason.FINISH_REASON_STOP
        usage = Usage(model_calls=1, input_tokens=(len(work.said) + 3) // 4, output_tokens=(len(reply.text) + 3) // 4)
        completed = run_events_pb2.StepCompleted(
            step_id=step_id, attempt=1, model="scripted", usage=usage, finish_reason=reason
        )
        self.append(run_id, ThreadEvent(step_completed=completed))
        if reply.reasoning:
            recorded = run_events_pb2.ReasoningRecorded(message_id=message_id, text=reply.reasoning)
            self.append(run_id, ThreadEvent(reasoning_recorded=recorded))
        content = [ContentPart(text=reply.text)] if reply.text else []
        told = run_events_pb2.AssistantMessageCompleted(message_id=message_id, content=content, finish_reason=reason)
        self.append(run_id, ThreadEvent(assistant_message_completed=told))
        if reply.calls:
            return self._call_tools(run_id, work, message_id, reply.calls)
        if work.steered:
            return True
        run = self.fold.runs[run_id]
        result = RunResult(message_id=message_id, parts=content, finish_reason=reason, usage=run.usage)
        self._end(run_id, ThreadEvent(run_completed=run_events_pb2.RunCompleted(result=result)))
        return False

    def _call_tools(self, run_id: str, work: _Work, message_id: str, calls: tuple[Call, ...]) -> bool:
        client_tools = {each.name for each in work.turn.client_tools}
        named = [(self._ids.new("call"), call) for call in calls]
        for call_id, call in named:
            asked = call_events_pb2.ToolCallRequested(
                call_id=call_id, message_id=message_id, tool=call.tool, arguments_json=call.arguments_json
            )
            self.append(run_id, ThreadEvent(tool_call_requested=asked))
        for call_id, call in named:
            kind = InputKind.INPUT_KIND_CLIENT_TOOL if call.tool in client_tools else call.asks
            input_id = self._ids.new("input")
            if kind != InputKind.INPUT_KIND_APPROVAL:
                self._start_call(run_id, call_id, call, input_id)
            if kind == InputKind.INPUT_KIND_UNSPECIFIED:
                ok, content = ToolCallOutcome.TOOL_CALL_OUTCOME_OK, [ContentPart(text=call.result)]
                self._end_call(run_id, work, call_id, ok, content)
            else:
                work.open_calls[input_id] = (call_id, call)
                self._ask(run_id, input_id, call_id, kind, call)
        if not work.open_calls:
            return True
        waiting = run_events_pb2.RunWaiting(input_ids=list(work.open_calls))
        self.append(run_id, ThreadEvent(run_waiting=waiting))
        return False

    def _ask(self, run_id: str, input_id: str, call_id: str, kind: InputKind.ValueType, call: Call) -> None:
        asked = InputRequest(
            input_id=input_id,
            thread_id=self.log.thread_id,
            run_id=run_id,
            call_id=call_id,
            kind=kind,
            state=InputState.INPUT_STATE_PENDING,
            prompt=call.tool,
            free_text=True,
            tool=call.tool,
            arguments_json=call.arguments_json,
        )
        asked.create_time.FromMicroseconds(self._clock.now())
        self.append(run_id, ThreadEvent(input_requested=call_events_pb2.InputRequested(input=asked)))

    def _start_call(self, run_id: str, call_id: str, call: Call, input_id: str) -> None:
        started = call_events_pb2.ToolCallStarted(
            call_id=call_id, tool=call.tool, idempotency_key=call_id, input_id=input_id, attempt=1
        )
        self.append(run_id, ThreadEvent(tool_call_started=started))

    def _end_call(
        self,
        run_id: str,
        work: _Work,
        call_id: str,
        outcome: ToolCallOutcome.ValueType,
        content: list[ContentPart],
    ) -> None:
        work.results.append(text_of(content))
        done = call_events_pb2.ToolCallCompleted(call_id=call_id, outcome=outcome, content=content)
        self.append(run_id, ThreadEvent(tool_call_completed=done))

    def _keep_words(self, run_id: str, message_id: str, text: str) -> None:
        told = run_events_pb2.AssistantMessageCompleted(
            message_id=message_id,
            content=[ContentPart(text=text)] if text else [],
            incomplete=True,
            finish_reason=FinishReason.FINISH_REASON_CANCELLED,
        )
        self.append(run_id, ThreadEvent(assistant_message_completed=told))

    def _end(self, run_id: str, payload: ThreadEvent) -> None:
        self.append(run_id, payload)
        del self._work[run_id]
        self.on_end(self.fold.runs[run_id])

    def _delta(self, run_id: str, number: int, step_id: str, message_id: str, offset: int, text: str) -> Delta:
        return Delta(
            run_id=run_id,
            step_id=step_id,
            attempt=1,
            message_id=message_id,
            channel=DeltaChannel.DELTA_CHANNEL_TEXT,
            offset=offset,
            text=text,
            after_sequence=self.log.last,
        )


def is_settled(run: Run) -> bool:
    """Whether a run has ended, or waits."""
    return run.state in ENDED_STATES or run.state == RunState.RUN_STATE_WAITING


def _resolved_state(answer: InputAnswer) -> InputState.ValueType:
    match answer.decision:
        case InputDecision.INPUT_DECISION_APPROVE:
            return InputState.INPUT_STATE_APPROVED
        case InputDecision.INPUT_DECISION_DENY:
            return InputState.INPUT_STATE_DENIED
        case _:
            return InputState.INPUT_STATE_ANSWERED


def _outcome(
    asked: InputRequest, answer: InputAnswer, call: Call
) -> tuple[ToolCallOutcome.ValueType, list[ContentPart]]:
    if answer.decision == InputDecision.INPUT_DECISION_DENY:
        return ToolCallOutcome.TOOL_CALL_OUTCOME_DENIED, [ContentPart(text=answer.text)]
    if asked.kind == InputKind.INPUT_KIND_APPROVAL:
        return ToolCallOutcome.TOOL_CALL_OUTCOME_OK, [ContentPart(text=call.result)]
    words = answer.text or answer.json or ", ".join(answer.options)
    content = list(answer.content) or [ContentPart(text=words)]
    error, ok = ToolCallOutcome.TOOL_CALL_OUTCOME_ERROR, ToolCallOutcome.TOOL_CALL_OUTCOME_OK
    return (error if answer.is_error else ok), content
