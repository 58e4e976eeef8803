"""The fake runtime's only reading of its log: runs, inputs and snapshots are folds of a thread's facts."""

from collections.abc import Iterable, Sequence

from google.protobuf.timestamp_pb2 import Timestamp

from heddle.common.v1.content_pb2 import ContentPart
from heddle.common.v1.usage_pb2 import Usage
from heddle.runtime.v1.event_pb2 import ThreadEvent
from heddle.runtime.v1.input_pb2 import InputRequest, InputState
from heddle.runtime.v1.run_events_pb2 import TurnRequested
from heddle.runtime.v1.run_pb2 import Run, RunState
from heddle.runtime.v1.snapshot_pb2 import RunView, ThreadSnapshot, TimelineEntry
from heddle.runtime.v1.thread_pb2 import Message, MessageRole, Thread, ThreadActivity, ThreadState
from heddle_client.transcript_lines import ENDED_STATES

_TIMELINE = 250
_WINDOW = 20


class ThreadFold:
    """What some facts of a thread, from the first on, amount to."""

    def __init__(self, events: Iterable[ThreadEvent] = ()) -> None:
        self.runs: dict[str, Run] = {}
        self.inputs: dict[str, InputRequest] = {}
        self.lane: str = ""
        """Run that holds the lane. Empty: none."""
        self.queue: list[str] = []
        """Runs that wait for the lane, in order."""
        self.steps: dict[str, int] = {}
        self.children: dict[str, bool] = {}
        """Child run id, and whether it is still open."""
        self._messages: dict[str, Message] = {}
        self._asked: dict[str, Message] = {}
        self._left_out: set[str] = set()
        self._timeline: list[TimelineEntry] = []
        self._last = ThreadEvent()
        self._thread = Thread(
            state=ThreadState.THREAD_STATE_ACTIVE, activity=ThreadActivity.THREAD_ACTIVITY_IDLE, etag="1"
        )
        for event in events:
            self.add(event)

    def add(self, event: ThreadEvent) -> None:
        """Fold one more fact."""
        self._last = event
        kind = event.WhichOneof("payload") or ""
        entry = TimelineEntry(sequence=event.sequence, event=kind, run_id=event.run_id, summary=kind)
        entry.commit_time.CopyFrom(event.commit_time)
        self._timeline.append(entry)
        match kind:
            case "thread_created":
                self._thread.settings.CopyFrom(event.thread_created.settings)
                self._thread.create_time.CopyFrom(event.commit_time)
            case "turn_requested":
                self._request(event)
            case "turn_steered":
                steered = event.turn_steered
                self._say(event, steered.message_id, MessageRole.MESSAGE_ROLE_USER, steered.content)
            case "input_requested":
                self.inputs[event.input_requested.input.input_id] = event.input_requested.input
            case "input_resolved":
                self._resolve(event)
            case "assistant_message_completed":
                told = event.assistant_message_completed
                message = self._say(event, told.message_id, MessageRole.MESSAGE_ROLE_ASSISTANT, told.content)
                message.incomplete = told.incomplete
            case "child_spawned":
                self.children[event.child_spawned.run_id] = True
            case "child_finished":
                self.children[event.child_finished.run_id] = False
            case _ if event.run_id:
                self._move(event, kind, self.runs[event.run_id])
            case _:
                pass

    def snapshot(self, window: int = _WINDOW) -> ThreadSnapshot:
        """The state as GetSnapshot tells it."""
        views = {run_id: self._view(run) for run_id, run in self.runs.items()}
        ended = [run_id for run_id, run in self.runs.items() if run.state in ENDED_STATES]
        history = [each for each in self._messages.values() if each.run_id not in self._left_out]
        said = [each for each in history if each.role == MessageRole.MESSAGE_ROLE_ASSISTANT]
        last_run = max(ended, key=lambda run_id: self.runs[run_id].end_time.ToMicroseconds(), default="")
        return ThreadSnapshot(
            thread=self.thread(),
            sequence=self._last.sequence,
            hash=self._last.hash,
            active_run=views.get(self.lane),
            queued_runs=[views[run_id] for run_id in self.queue],
            last_run=views.get(last_run),
            last_assistant_message=said[-1] if said else None,
            messages=history[-window:] if window else [],
            pending_inputs=list(self.pending()),
            timeline=self._timeline[-_TIMELINE:],
            usage=_sum(run.usage for run in self.runs.values()),
            open_child_run_ids=[run_id for run_id, is_open in self.children.items() if is_open],
            resume_after_sequence=self._last.sequence,
            fold_version=1,
        )

    def thread(self) -> Thread:
        """The thread as it stands."""
        thread = Thread()
        thread.CopyFrom(self._thread)
        thread.thread_id = self._last.thread_id
        thread.first_sequence = 1
        thread.last_sequence = self._last.sequence
        thread.active_run_id = self.lane
        thread.update_time.CopyFrom(self._last.commit_time)
        holder = self.runs.get(self.lane)
        if holder is not None and holder.state == RunState.RUN_STATE_WAITING:
            thread.activity = ThreadActivity.THREAD_ACTIVITY_WAITING
        elif holder is not None or self.queue:
            thread.activity = ThreadActivity.THREAD_ACTIVITY_BUSY
        return thread

    def pending(self, run_id: str = "") -> Sequence[InputRequest]:
        """Inputs that nobody has answered, of one run or of all."""
        return [
            each
            for each in self.inputs.values()
            if each.state == InputState.INPUT_STATE_PENDING and run_id in ("", each.run_id)
        ]

    def _request(self, event: ThreadEvent) -> None:
        asked = event.turn_requested
        self.runs[event.run_id] = _requested(event, asked)
        message = Message(message_id=asked.message_id, run_id=event.run_id, role=MessageRole.MESSAGE_ROLE_USER)
        message.content.extend(asked.turn.content)
        self._asked[event.run_id] = message
        self.queue.insert(0 if asked.interrupts_run_id else len(self.queue), event.run_id)

    def _move(self, event: ThreadEvent, kind: str, run: Run) -> None:
        match kind:
            case "run_started":
                self.lane = run.run_id
                self.queue.remove(run.run_id)
                run.state, run.attempt = RunState.RUN_STATE_RUNNING, event.run_started.attempt
                run.start_time.CopyFrom(event.commit_time)
                asked = self._asked[run.run_id]
                self._say(event, asked.message_id, asked.role, asked.content)
            case "run_resumed":
                run.state, run.attempt = RunState.RUN_STATE_RUNNING, event.run_resumed.attempt
            case "run_waiting":
                run.state = RunState.RUN_STATE_WAITING
            case "step_started":
                self.steps[run.run_id] = event.step_started.number
            case "step_completed":
                run.usage.CopyFrom(_sum([run.usage, event.step_completed.usage]))
            case "tool_call_started":
                run.usage.tool_calls += 1
            case "run_cancel_requested":
                run.cancel_sequence, run.cancel_cause = event.sequence, event.run_cancel_requested.cause
            case "run_completed":
                run.result.CopyFrom(event.run_completed.result)
                self._end(run, RunState.RUN_STATE_COMPLETED, event.commit_time)
            case "run_failed":
                run.failure.CopyFrom(event.run_failed.failure)
                self._end(run, RunState.RUN_STATE_FAILED, event.commit_time)
            case "run_cancelled":
                if event.run_cancelled.rolled_back:
                    self._left_out.add(run.run_id)
                self._end(run, RunState.RUN_STATE_CANCELLED, event.commit_time)
            case _:
                pass

    def _end(self, run: Run, state: RunState.ValueType, time: Timestamp) -> None:
        run.state = state
        run.end_time.CopyFrom(time)
        self.queue = [run_id for run_id in self.queue if run_id != run.run_id]
        if self.lane == run.run_id:
            self.lane = ""

    def _resolve(self, event: ThreadEvent) -> None:
        resolved = event.input_resolved
        asked = InputRequest()
        asked.CopyFrom(self.inputs[resolved.input_id])
        asked.state = resolved.state
        asked.resolved_by.CopyFrom(resolved.actor)
        asked.answer.CopyFrom(resolved.answer)
        asked.resolve_time.CopyFrom(event.commit_time)
        self.inputs[resolved.input_id] = asked

    def _say(
        self,
        event: ThreadEvent,
        message_id: str,
        role: MessageRole.ValueType,
        content: Iterable[ContentPart],
    ) -> Message:
        message = Message(
            message_id=message_id,
            run_id=event.run_id,
            sequence=event.sequence,
            role=role,
            content=content,
            create_time=event.commit_time,
        )
        self._messages[message_id] = message
        return message

    def _view(self, run: Run) -> RunView:
        return RunView(
            run_id=run.run_id,
            state=run.state,
            attempt=run.attempt,
            steps=self.steps.get(run.run_id, 0),
            usage=run.usage,
            message_id=self._asked[run.run_id].message_id,
            pending_input_ids=[each.input_id for each in self.pending(run.run_id)],
            cancel_sequence=run.cancel_sequence,
            failure=run.failure if run.HasField("failure") else None,
            agent_id=run.agent.agent_id,
            model=run.model,
        )


def _requested(event: ThreadEvent, asked: TurnRequested) -> Run:
    turn = asked.turn
    return Run(
        run_id=event.run_id,
        thread_id=event.thread_id,
        state=RunState.RUN_STATE_QUEUED,
        request_id=asked.request_id,
        actor=asked.actor,
        agent=turn.agent,
        model=turn.model,
        parent_run_id=turn.parent.run_id,
        root_run_id=asked.root_run_id or event.run_id,
        depth=asked.depth,
        trigger=turn.trigger,
        labels=turn.labels,
        limits=turn.limits,
        create_time=event.commit_time,
        not_before=turn.not_before if turn.HasField("not_before") else None,
        request_sequence=event.sequence,
        mode=turn.mode,
    )


def _sum(usages: Iterable[Usage]) -> Usage:
    total = Usage()
    for usage in usages:
        total.input_tokens += usage.input_tokens
        total.output_tokens += usage.output_tokens
        total.model_calls += usage.model_calls
        total.tool_calls += usage.tool_calls
    return total
