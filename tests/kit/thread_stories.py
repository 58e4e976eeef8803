"""Random stories of a thread: event sequences as callers, workers and clocks could really have left them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

import heddle_runtime.threads.events as e
from heddle_core.clock import Micros
from heddle_core.ids import CallId, InputId, MessageId, PrincipalId, RequestId, RunId, StepId, ThreadId, WorkerId
from heddle_core.usage import MicroUsd, Usage
from heddle_runtime.runs.content import Actor, Text
from heddle_runtime.runs.inputs import ApprovalScope, InputAnswer, InputKind, InputRequest
from heddle_runtime.runs.run import CancelCause, FailureReason, RunFailure, RunResult
from heddle_runtime.runs.state import InputState, RunState
from heddle_runtime.runs.turn import AgentReference, Turn
from heddle_runtime.runs.usage import Limits
from heddle_runtime.threads.fold import apply
from heddle_runtime.threads.settings import ThreadSettings
from heddle_runtime.threads.state import RunFold, ThreadFold

ADA = Actor(PrincipalId("ada"))
THREAD = ThreadId("t1")


@dataclass
class Story:
    """A thread that is being told, with the helpers that events need."""

    draw: Callable[..., Any]
    fold: ThreadFold = field(default_factory=lambda: ThreadFold(THREAD))
    events: list[e.Event] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def new(self, prefix: str) -> str:
        self.counts[prefix] = self.counts.get(prefix, 0) + 1
        return f"{prefix}_{self.counts[prefix]}"

    def tell(self, payload: e.Payload, run_id: str = "") -> None:
        sequence = len(self.events) + 1
        event = e.Event(sequence, RunId(run_id), Micros(sequence * 1_000_000), payload, bytes([sequence % 256]) * 32)
        self.events.append(event)
        apply(self.fold, event)

    @property
    def active(self) -> RunFold | None:
        return self.fold.active_run

    def choose(self, options: list[Any]) -> Any:
        return self.draw(st.sampled_from(options))


def stories(length: int = 40) -> st.SearchStrategy[list[e.Event]]:
    """Event sequences of at most about `length` acts."""

    @st.composite
    def told(draw: Callable[..., Any]) -> list[e.Event]:
        story = Story(draw)
        story.tell(e.ThreadCreated(ThreadSettings("", {"a": "b"}), ADA))
        for _ in range(draw(st.integers(1, length))):
            acts = [act for can, act in _ACTS if can(story)]
            draw(st.sampled_from(acts))(story)
        return story.events

    return told()


def _request(story: Story) -> None:
    turn = Turn((Text(story.draw(st.text(max_size=5))),), agent=AgentReference("general", 1), model="m")
    active = story.fold.active_run_id
    interrupts = active if active and story.draw(st.booleans()) else RunId("")
    request = RequestId(story.new("req"))
    run_id = RunId(story.new("run"))
    said = MessageId(story.new("said"))
    story.tell(e.TurnRequested(request, said, turn, ADA, run_id, interrupts_run_id=interrupts), run_id)


def _claim(story: Story) -> None:
    run = story.active or story.fold.queued_runs[0]
    fence = run.fence + 1
    if run.attempt == 0:
        story.tell(e.RunStarted(1, fence, WorkerId("w"), AgentReference("general", 1), "m"), run.run_id)
    else:
        story.tell(e.RunResumed(run.attempt, fence, WorkerId("w")), run.run_id)


def _step(story: Story) -> None:
    run = story.active
    assert run is not None
    again = run.step is not None and not run.step.completed
    step_id = run.step.step_id if again and run.step else StepId(story.new("step"))
    number = run.steps if again else run.steps + 1
    attempt = run.step.attempt + 1 if again and run.step else 1
    message = MessageId(story.new("msg"))
    story.tell(e.StepStarted(step_id, number, attempt, message), run.run_id)
    if story.draw(st.booleans()):
        _steer(story)
    kind = story.choose(["calls", "both", "fault", "text", "lost", "mismatch"])
    usage = Usage(story.draw(st.integers(0, 9)), 1, model_calls=1, cost=MicroUsd(2))
    if kind == "lost":
        return
    if kind == "fault":
        story.tell(e.StepCompleted(step_id, attempt, "m", usage, error="overloaded"), run.run_id)
        return
    if kind != "calls":
        story.tell(e.AssistantMessageCompleted(message, (Text(story.draw(st.text(max_size=5))),)), run.run_id)
    story.tell(e.StepCompleted(step_id, attempt, "m", usage), run.run_id)
    if kind in ("calls", "both"):
        for _ in range(story.draw(st.integers(1, 3))):
            call = CallId(story.new("call"))
            story.tell(e.ToolCallRequested(call, message, "act", "{}"), run.run_id)
    if kind == "mismatch":
        story.tell(e.ErrorRecorded("OUTPUT_SCHEMA_MISMATCH", "not it"), run.run_id)


def _steer(story: Story) -> None:
    run = story.active
    assert run is not None
    steered = e.TurnSteered(RequestId(story.new("req")), MessageId(story.new("said")), (Text("more"),), ADA)
    story.tell(steered, run.run_id)


def _call(story: Story) -> None:
    run = story.active
    assert run is not None
    call = story.choose(run.open_calls)
    act = story.choose(["start", "ask", "end"])
    if act == "start" and not call.started:
        minted = InputId(f"inp_{call.call_id}")
        story.tell(e.ToolCallStarted(call.call_id, "kit/act", "k", "d", minted, run.fence), run.run_id)
    elif act == "ask" and call.input_id not in run.inputs and call.input_id not in run.resolutions:
        kind = InputKind.EXTERNAL if call.started else InputKind.APPROVAL
        input_id = call.input_id or InputId(f"app_{call.call_id}")
        asked = InputRequest(
            input_id, THREAD, run.run_id, kind, InputState.PENDING, call.call_id, tool="kit/act", tool_digest="d"
        )
        story.tell(e.InputRequested(asked), run.run_id)
    elif call.input_id not in run.inputs:
        outcome = story.choose(list(e.ToolCallOutcome)[1:])
        story.tell(e.ToolCallCompleted(call.call_id, outcome, (Text("r"),), MicroUsd(1)), run.run_id)


def _resolve(story: Story) -> None:
    run = story.active
    assert run is not None
    input_id = story.choose(sorted(run.inputs))
    state = story.choose([InputState.ANSWERED, InputState.APPROVED, InputState.DENIED, InputState.TIMED_OUT])
    answer = InputAnswer(text="x", scope=story.choose(list(ApprovalScope)))
    story.tell(e.InputResolved(input_id, state, answer, ADA), run.run_id)


def _wait(story: Story) -> None:
    run = story.active
    assert run is not None
    story.tell(e.RunWaiting(tuple(run.inputs)), run.run_id)


def _close(story: Story, run: RunFold) -> None:
    for input_id in list(run.inputs):
        story.tell(e.InputResolved(input_id, InputState.CANCELLED), run.run_id)
    for call in run.open_calls:
        story.tell(e.ToolCallCompleted(call.call_id, e.ToolCallOutcome.CANCELLED), run.run_id)


def _end(story: Story) -> None:
    run = story.active
    assert run is not None
    _close(story, run)
    if story.draw(st.booleans()):
        result = RunResult(MessageId("m"), (Text("done"),), usage=run.usage)
        story.tell(e.RunCompleted(result), run.run_id)
    else:
        story.tell(e.RunFailed(RunFailure(FailureReason.INTERNAL, "no"), run.usage), run.run_id)


def _cancel(story: Story) -> None:
    run = story.choose(list(story.fold.runs.values()))
    cause = story.choose([CancelCause.REQUESTED, CancelCause.ROLLED_BACK, CancelCause.PARENT])
    story.tell(e.RunCancelRequested(cause, ADA), run.run_id)
    _close(story, run)
    story.tell(e.RunCancelled(cause, cause is CancelCause.ROLLED_BACK, run.usage), run.run_id)


def _supersede(story: Story) -> None:
    old = story.choose(story.fold.history)
    if old.run_id not in story.fold.runs:
        _request(story)
        story.tell(e.RunSuperseded(old.run_id), story.events[-1].run_id)


def _redact(story: Story) -> None:
    said = story.choose(story.fold.messages)
    story.tell(e.MessageRedacted(said.message_id, (said.sequence,), "", ADA))


def _compact(story: Story) -> None:
    run = story.active
    assert run is not None
    through = story.draw(st.integers(0, len(story.events)))
    story.tell(e.ContextCompacted("a", "r", "d", "l", through), run.run_id)


def _change(story: Story) -> None:
    blocks = e.UiBlocksUpdated(story.choose(list(e.UiBlocksOperation)), ('{"id": "b1"}',))
    title = ThreadSettings(story.draw(st.text(max_size=3)), context_json="{}")
    story.tell(story.choose([blocks, e.ThreadUpdated(title, ("title", "context_json"), ADA), e.Unknown()]))


def _child(story: Story) -> None:
    run = story.active
    assert run is not None
    child = RunId(story.new("child"))
    story.tell(e.ChildSpawned(child, ThreadId("t2"), AgentReference("a"), Limits(tokens=5)), run.run_id)
    if story.draw(st.booleans()):
        story.tell(e.ChildFinished(child, RunState.COMPLETED, Usage(1, 1)), run.run_id)


def _running(story: Story) -> bool:
    return story.active is not None and story.active.state is RunState.RUNNING


def _claimable(story: Story) -> bool:
    run = story.active
    return bool(story.fold.queued_runs) if run is None else run.state is not RunState.WAITING


_ACTS: list[tuple[Callable[[Story], Any], Callable[[Story], None]]] = [
    (lambda story: len(story.fold.runs) < 3, _request),
    (_claimable, _claim),
    (lambda story: story.active is None and story.fold.queued_runs, _claim),
    *[(lambda story: _running(story) and not story.active.open_calls and not story.active.inputs, _step)] * 4,
    (lambda story: story.active is not None, _steer),
    *[(lambda story: _running(story) and story.active.open_calls, _call)] * 5,
    *[(lambda story: story.active is not None and story.active.inputs, _resolve)] * 2,
    *[(lambda story: _running(story) and story.active.inputs, _wait)] * 3,
    (_running, _end),
    (lambda story: story.fold.runs, _cancel),
    (lambda story: story.fold.history, _supersede),
    (lambda story: story.fold.messages, _redact),
    (_running, _compact),
    (lambda story: True, _change),
    (_running, _child),
]
