"""A fold of its own: what a thread's events add up to, written from the words of the contract.

It shares no line with the runtime's fold. Where both are asked at the same sequence, they must say the same (P10).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from heddle.common.v1.usage_pb2 import Usage
from heddle.runtime.v1.input_pb2 import InputRequest
from heddle.runtime.v1.run_pb2 import RunState
from heddle.runtime.v1.snapshot_pb2 import RunView, ThreadSnapshot, TimelineEntry
from heddle.runtime.v1.thread_pb2 import Message, MessageRole, ThreadActivity, ThreadSettings, ThreadState
from tests.kit.property_log import Logged

_TIMELINE = 250

_ENDS = {
    "run_completed": RunState.RUN_STATE_COMPLETED,
    "run_failed": RunState.RUN_STATE_FAILED,
    "run_cancelled": RunState.RUN_STATE_CANCELLED,
}

_COUNTED = ("input_tokens", "output_tokens", "cached_input_tokens", "reasoning_tokens", "model_calls", "tool_calls")


@dataclass
class Run:
    """A run as the log tells of it."""

    view: RunView
    request_id: str
    messages: list[Message] = field(default_factory=list[Message])
    inputs: dict[str, InputRequest] = field(default_factory=dict[str, InputRequest])
    result: Any = None
    dropped: bool = False
    cost: int = 0
    """In millionths."""

    @property
    def ended(self) -> bool:
        return self.view.state in _ENDS.values()


@dataclass
class Fold:
    """The state of a thread."""

    thread_id: str
    sequence: int = 0
    hash: bytes = b"\0" * 32
    settings: ThreadSettings = field(default_factory=ThreadSettings)
    archived: bool = False
    create_time: int = 0
    update_time: int = 0
    forked_from: str = ""
    runs: dict[str, Run] = field(default_factory=dict[str, Run])
    """Every run of the thread."""
    queue: list[str] = field(default_factory=list[str])
    """Runs that have not started and not ended, in the order in which they will be taken."""
    active: str = ""
    last: str = ""
    started: list[str] = field(default_factory=list[str])
    inherited: list[Message] = field(default_factory=list[Message])
    plan: Any = None
    approved_plan: int = 0
    timeline: list[TimelineEntry] = field(default_factory=list[TimelineEntry])
    redacted: set[str] = field(default_factory=set[str])

    @property
    def history(self) -> list[Message]:
        """The messages that are part of the history, oldest first."""
        runs = [self.runs[run_id] for run_id in self.started]
        return [*self.inherited, *(said for run in runs if not run.dropped for said in run.messages)]

    @property
    def all_messages(self) -> list[Message]:
        """Every message that was ever said, by its place in the log."""
        said = [message for run in self.runs.values() for message in run.messages]
        return [*self.inherited, *sorted(said, key=lambda message: message.sequence)]

    def snapshot(self, window: int) -> ThreadSnapshot:
        """The state as GetSnapshot tells it, but for etag, fold version and the timeline's words."""
        snapshot = ThreadSnapshot(
            sequence=self.sequence,
            hash=self.hash,
            queued_runs=[self.runs[each].view for each in self.queue],
            messages=self.history[-window:] if window else [],
            pending_inputs=[asked for run in self.runs.values() for asked in run.inputs.values()],
            approved_plan_version=self.approved_plan,
            timeline=self.timeline[-_TIMELINE:],
            usage=self._usage(),
            resume_after_sequence=self.sequence,
        )
        self._describe(snapshot.thread)
        if self.active:
            snapshot.active_run.CopyFrom(self.runs[self.active].view)
        if self.last:
            snapshot.last_run.CopyFrom(self.runs[self.last].view)
        if self.plan is not None:
            snapshot.plan.CopyFrom(self.plan)
        answers = [said for said in self.history if said.role == MessageRole.MESSAGE_ROLE_ASSISTANT]
        if answers:
            snapshot.last_assistant_message.CopyFrom(answers[-1])
        return snapshot

    def _describe(self, thread: Any) -> None:
        waits = bool(self.active) and self.runs[self.active].view.state == RunState.RUN_STATE_WAITING
        busy = bool(self.active or self.queue)
        thread.thread_id = self.thread_id
        thread.settings.CopyFrom(self.settings)
        thread.state = ThreadState.THREAD_STATE_ARCHIVED if self.archived else ThreadState.THREAD_STATE_ACTIVE
        thread.activity = (
            ThreadActivity.THREAD_ACTIVITY_WAITING
            if waits
            else ThreadActivity.THREAD_ACTIVITY_BUSY
            if busy
            else ThreadActivity.THREAD_ACTIVITY_IDLE
        )
        thread.last_sequence = self.sequence
        thread.first_sequence = 1
        thread.active_run_id = self.active
        thread.create_time.CopyFrom(moment(self.create_time))
        thread.update_time.CopyFrom(moment(self.update_time))
        thread.forked_from_thread_id = self.forked_from

    def _usage(self) -> Usage:
        total = Usage()
        for run in self.runs.values():
            add_usage(total, run.view.usage)
        return total


def fold(thread_id: str, events: Iterable[Logged], sources: Mapping[str, list[Logged]]) -> Fold:
    """The state after `events`; `sources` are the logs that a fork may begin with, by thread."""
    state = Fold(thread_id)
    for event in events:
        _apply(state, event, sources)
        state.sequence, state.hash, state.update_time = event.sequence, event.hash, event.commit_time
        state.timeline.append(
            TimelineEntry(
                sequence=event.sequence, event=event.kind, run_id=event.run_id, commit_time=moment(event.commit_time)
            )
        )
    return state


def moment(micros: int) -> Timestamp:
    """A time of the log as the contract writes it."""
    return Timestamp(seconds=micros // 1_000_000, nanos=micros % 1_000_000 * 1_000)


def add_usage(total: Usage, more: Usage) -> None:
    """Add `more` to `total`."""
    for name in _COUNTED:
        setattr(total, name, getattr(total, name) + getattr(more, name))
    nanos = total.cost.nanos + more.cost.nanos + 10**9 * (total.cost.units + more.cost.units)
    if more.HasField("cost") or total.HasField("cost"):
        total.cost.units, total.cost.nanos = nanos // 10**9, nanos % 10**9
        total.cost.currency_code = more.cost.currency_code or total.cost.currency_code


def _apply(state: Fold, event: Logged, sources: Mapping[str, list[Logged]]) -> None:
    told = event.payload
    match event.kind:
        case "thread_created":
            state.settings, state.create_time = told.settings, event.commit_time
        case "thread_updated":
            state.settings = told.settings
        case "thread_archived" | "thread_unarchived":
            state.archived = event.kind == "thread_archived"
        case "thread_forked":
            log = sources[told.source_thread_id]
            source = fold(told.source_thread_id, log[: told.source_sequence], sources)
            assert source.hash == told.source_hash, f"{state.thread_id} was forked from another history"
            state.inherited = source.history
            state.settings, state.create_time = told.settings, event.commit_time
            state.forked_from = told.source_thread_id
        case "message_redacted":
            state.redacted.add(told.message_id)
        case "turn_requested":
            _request(state, event)
        case "run_superseded":
            superseded = state.runs.get(told.superseded_run_id)
            if superseded is not None:
                superseded.dropped = True
        case _ if event.run_id:
            _apply_to_run(state, state.runs[event.run_id], event)
        case _:
            raise AssertionError(f"event {event.sequence} {event.kind} belongs to no run")


def _request(state: Fold, event: Logged) -> None:
    told = event.payload
    view = RunView(
        run_id=event.run_id,
        state=RunState.RUN_STATE_QUEUED,
        message_id=told.message_id,
        agent_id=told.turn.agent.agent_id,
        model=told.turn.model,
    )
    run = state.runs[event.run_id] = Run(view, told.request_id)
    run.messages.append(_message(event, MessageRole.MESSAGE_ROLE_USER, told.message_id, told.turn.content))
    if told.interrupts_run_id:
        state.queue.insert(0, event.run_id)  # it runs next
    else:
        state.queue.append(event.run_id)


def _apply_to_run(state: Fold, run: Run, event: Logged) -> None:
    told, view = event.payload, run.view
    match event.kind:
        case "run_started" | "run_resumed":
            if event.run_id in state.queue:
                state.queue.remove(event.run_id)
                state.started.append(event.run_id)
            state.active = event.run_id
            view.state, view.attempt = RunState.RUN_STATE_RUNNING, told.attempt
            if event.kind == "run_started":
                view.agent_id, view.model = told.agent.agent_id, told.model
        case "run_waiting":
            view.state = RunState.RUN_STATE_WAITING
        case "run_cancel_requested":
            view.cancel_sequence = event.sequence
        case "run_completed" | "run_failed" | "run_cancelled":
            _end(state, run, event)
        case "turn_steered":
            said = _message(event, MessageRole.MESSAGE_ROLE_USER, told.message_id, told.content)
            run.messages.append(said)
        case "assistant_message_completed":
            said = _message(event, MessageRole.MESSAGE_ROLE_ASSISTANT, told.message_id, told.content)
            said.incomplete = told.incomplete
            run.messages.append(said)
        case "step_started":
            view.steps = max(view.steps, told.number)
        case "step_completed":
            add_usage(view.usage, told.usage)
        case "tool_call_started":
            view.usage.tool_calls += 1 if told.attempt == 1 else 0
        case "tool_call_completed":
            add_usage(view.usage, Usage(cost=told.cost) if told.HasField("cost") else Usage())
        case "input_requested":
            asked = InputRequest()
            asked.CopyFrom(told.input)
            asked.create_time.CopyFrom(moment(event.commit_time))
            run.inputs[asked.input_id] = asked
            view.pending_input_ids[:] = list(run.inputs)
        case "input_resolved":
            _resolve(run, told.input_id)
        case "plan_proposed" | "plan_revised":
            state.plan = told.plan
        case "plan_approved":
            state.approved_plan = told.version
        case _:
            pass


def _resolve(run: Run, input_id: str) -> None:
    run.inputs.pop(input_id, None)
    run.view.pending_input_ids[:] = list(run.inputs)
    waits = run.view.state == RunState.RUN_STATE_WAITING
    if waits and not run.inputs and not run.view.cancel_sequence:
        run.view.state = RunState.RUN_STATE_QUEUED


def _end(state: Fold, run: Run, event: Logged) -> None:
    run.view.state = _ENDS[event.kind]
    run.inputs.clear()
    run.view.pending_input_ids[:] = []
    if event.kind == "run_completed":
        run.result = event.payload.result
    elif event.kind == "run_failed":
        run.view.failure.CopyFrom(event.payload.failure)
    elif event.payload.rolled_back:
        run.dropped = True
    if event.run_id in state.queue:
        state.queue.remove(event.run_id)
    if state.active == event.run_id:
        state.active = ""
    state.last = event.run_id


def _message(event: Logged, role: MessageRole.ValueType, message_id: str, content: Any) -> Message:
    return Message(
        message_id=message_id,
        run_id=event.run_id,
        sequence=event.sequence,
        role=role,
        content=content,
        create_time=moment(event.commit_time),
    )
