"""What a screen shows of a thread or run: a value, folded from the frames of a stream.

Words that are being written are provisional. A fact replaces them: the final text of a message, the recorded
thoughts, the requested arguments. What no fact has confirmed when its run ends is taken off the screen, so
that everybody who saw the same facts shows the same, whatever they missed in between.
"""

from collections.abc import Iterable, Mapping
from dataclasses import field, replace

from heddle.common.v1.content_pb2 import ContentPart
from heddle.runtime.v1.event_pb2 import ThreadEvent
from heddle.runtime.v1.input_pb2 import InputRequest
from heddle.runtime.v1.run_pb2 import RunState
from heddle.runtime.v1.snapshot_pb2 import ThreadSnapshot
from heddle.runtime.v1.stream_pb2 import Delta, DeltaChannel, StreamFrame
from heddle.runtime.v1.thread_pb2 import MessageRole
from heddle_client.transcript_lines import MessageLine, RunLine, ToolLine, ToolState, text_of
from heddle_client.words import Words
from heddle_core.values import value

CallKey = tuple[str, str]
"""Run id and call id: a call's id is unique within its run only."""


@value
class Transcript:
    """What a screen shows after some frames. Immutable; `after` gives the next one."""

    sequence: int = 0
    """Last fact that is folded in. Facts up to it are not folded again."""
    messages: Mapping[str, MessageLine] = field(default_factory=dict[str, MessageLine])
    """By message id, in the order of their first mention."""
    tools: Mapping[CallKey, ToolLine] = field(default_factory=dict[CallKey, ToolLine])
    inputs: Mapping[str, InputRequest] = field(default_factory=dict[str, InputRequest])
    """What somebody must answer, by input id."""
    runs: Mapping[str, RunLine] = field(default_factory=dict[str, RunLine])
    discarded: Mapping[str, str] = field(default_factory=dict[str, str])
    """Messages of failed attempts, each with its run: their words may still arrive, and are dropped."""

    def after(self, frame: StreamFrame) -> "Transcript":
        """The transcript with one more frame."""
        match frame.WhichOneof("frame"):
            case "events":
                return self.after_events(frame.events.events)
            case "deltas":
                return self.after_deltas(frame.deltas.deltas)
            case _:
                return self

    def after_events(self, events: Iterable[ThreadEvent]) -> "Transcript":
        """The transcript with more facts, in order. Those that it knows are skipped, as are unknown kinds."""
        transcript = self
        for event in events:
            if event.sequence > transcript.sequence:
                transcript = replace(_folded(transcript, event), sequence=event.sequence)
        return transcript

    def after_deltas(self, deltas: Iterable[Delta]) -> "Transcript":
        """The transcript with more words, in any order, any of them once or often."""
        transcript = self
        for delta in deltas:
            transcript = _with_words(transcript, delta)
        return transcript

    @property
    def shown(self) -> tuple[MessageLine, ...]:
        """The messages that have something to show and belong to the history, in order."""
        return tuple(
            line
            for line in self.messages.values()
            if (line.text or line.reasoning or line.content or line.redacted)
            and not (run := self.runs.get(line.run_id, _NO_RUN)).rolled_back
            and not run.superseded_by_run_id
        )

    def text(self, message_id: str) -> str:
        """What is shown of a message; empty for one that is unknown or discarded."""
        line = self.messages.get(message_id)
        return "" if line is None else line.text

    def answer(self, run_id: str) -> str:
        """The text that a run has given so far, or in the end: that of its last message of the agent."""
        ours = (line for line in self.messages.values() if line.run_id == run_id)
        said = [line.text for line in ours if line.role == MessageRole.MESSAGE_ROLE_ASSISTANT and line.text]
        return said[-1] if said else ""

    @classmethod
    def of_snapshot(cls, snapshot: ThreadSnapshot) -> "Transcript":
        """The transcript at a snapshot, to be continued by a stream after its sequence."""
        views = [*snapshot.queued_runs]
        views += [snapshot.last_run] if snapshot.HasField("last_run") else []
        views += [snapshot.active_run] if snapshot.HasField("active_run") else []
        return cls(
            sequence=snapshot.sequence,
            messages={
                each.message_id: MessageLine(
                    each.message_id,
                    each.run_id,
                    each.role,
                    said=text_of(each.content),
                    content=tuple(each.content),
                    incomplete=each.incomplete,
                    redacted=each.redacted,
                )
                for each in snapshot.messages
            },
            inputs={each.input_id: each for each in snapshot.pending_inputs},
            runs={
                each.run_id: RunLine(
                    each.run_id, each.state, failure=each.failure if each.HasField("failure") else None
                )
                for each in views
            },
        )


_NO_RUN = RunLine("")


def _with_words(transcript: Transcript, delta: Delta) -> Transcript:
    run = transcript.runs.get(delta.run_id, _NO_RUN)
    message = transcript.messages.get(delta.message_id)
    if run.ended or delta.message_id in transcript.discarded or (message is not None and message.settled):
        return transcript
    if delta.channel == DeltaChannel.DELTA_CHANNEL_TOOL_ARGUMENTS:
        return _with_arguments(transcript, delta)
    if message is None:
        message = MessageLine(delta.message_id, delta.run_id)
    if delta.channel != DeltaChannel.DELTA_CHANNEL_REASONING:
        return _with_message(transcript, replace(message, words=_joined(message.words, delta)))
    if message.thought is not None:
        return transcript
    return _with_message(transcript, replace(message, thoughts=_joined(message.thoughts, delta)))


def _with_arguments(transcript: Transcript, delta: Delta) -> Transcript:
    key = (delta.run_id, delta.call_id)
    tool = transcript.tools.get(key)
    if tool is None:
        tool = ToolLine(delta.call_id, delta.run_id, message_id=delta.message_id)
    if tool.state is not ToolState.WRITING:
        return transcript
    return _with_tool(transcript, replace(tool, words=_joined(tool.words, delta)))


def _joined(words: Words, delta: Delta) -> Words:
    return words.joined(delta.offset, delta.text, reset=delta.reset)


def _folded(transcript: Transcript, event: ThreadEvent) -> Transcript:
    """The fold: one case a kind of fact that changes what is shown."""
    run_id = event.run_id
    match event.WhichOneof("payload"):
        case "turn_requested":
            asked = event.turn_requested
            said = _spoken(asked.message_id, run_id, asked.turn.content)
            return _with_message(_with_run(transcript, run_id, state=RunState.RUN_STATE_QUEUED), said)
        case "turn_steered":
            steered = event.turn_steered
            return _with_message(transcript, _spoken(steered.message_id, run_id, steered.content))
        case "run_started" | "run_resumed":
            return _with_run(transcript, run_id, state=RunState.RUN_STATE_RUNNING)
        case "run_waiting":
            return _with_run(transcript, run_id, state=RunState.RUN_STATE_WAITING)
        case "run_completed":
            line = _run(transcript, run_id)
            completed = replace(line, state=RunState.RUN_STATE_COMPLETED, result=event.run_completed.result)
            return _ended(transcript, completed)
        case "run_failed":
            line = _run(transcript, run_id)
            failed = replace(line, state=RunState.RUN_STATE_FAILED, failure=event.run_failed.failure)
            return _ended(transcript, failed)
        case "run_cancelled":
            line = _run(transcript, run_id)
            cancelled = replace(
                line,
                state=RunState.RUN_STATE_CANCELLED,
                cancel_cause=event.run_cancelled.cause,
                rolled_back=event.run_cancelled.rolled_back,
            )
            return _ended(transcript, cancelled)
        case "run_superseded":
            earlier = _run(transcript, event.run_superseded.superseded_run_id)
            left_out = replace(earlier, superseded_by_run_id=run_id)
            return replace(transcript, runs={**transcript.runs, earlier.run_id: left_out})
        case "step_started":
            started = event.step_started
            cleared = _without(transcript, started.discards_message_id, run_id)
            return _with_message(cleared, _message(cleared, started.message_id, run_id))
        case "reasoning_recorded":
            recorded = event.reasoning_recorded
            line = _message(transcript, recorded.message_id, run_id)
            return _with_message(transcript, replace(line, thought=recorded.text, thoughts=Words()))
        case "assistant_message_completed":
            told = event.assistant_message_completed
            line = _message(transcript, told.message_id, run_id)
            whole = replace(
                line,
                words=Words(),
                said=text_of(told.content),
                content=tuple(told.content),
                incomplete=told.incomplete,
            )
            return _with_message(transcript, whole)
        case "message_redacted":
            return _redacted(transcript, event.message_redacted.message_id)
        case _:
            return _folded_work(transcript, event)


def _folded_work(transcript: Transcript, event: ThreadEvent) -> Transcript:
    """The other half of the fold: tool calls and inputs."""
    run_id = event.run_id
    match event.WhichOneof("payload"):
        case "tool_call_requested":
            asked = event.tool_call_requested
            line = ToolLine(
                asked.call_id,
                run_id,
                message_id=asked.message_id,
                tool=asked.tool,
                state=ToolState.REQUESTED,
                requested_json=asked.arguments_json,
            )
            return _with_tool(transcript, line)
        case "tool_call_started":
            started = event.tool_call_started
            line = _tool(transcript, run_id, started.call_id)
            return _with_tool(transcript, replace(line, tool=started.tool, state=ToolState.STARTED))
        case "tool_call_progressed":
            moved = event.tool_call_progressed
            line = _tool(transcript, run_id, moved.call_id)
            return _with_tool(transcript, replace(line, fraction=moved.fraction, note=moved.message))
        case "tool_call_completed":
            done = event.tool_call_completed
            line = _tool(transcript, run_id, done.call_id)
            ended = replace(
                line, state=ToolState.ENDED, outcome=done.outcome, content=tuple(done.content), words=Words()
            )
            return _with_tool(transcript, ended)
        case "input_requested":
            asked = event.input_requested.input
            return replace(transcript, inputs={**transcript.inputs, asked.input_id: asked})
        case "input_resolved":
            left = {key: each for key, each in transcript.inputs.items() if key != event.input_resolved.input_id}
            return replace(transcript, inputs=left)
        case _:
            return transcript


def _ended(transcript: Transcript, run: RunLine) -> Transcript:
    """The run is over: its questions are void, and so is every word of it that no fact has confirmed."""
    messages = {
        key: line if line.run_id != run.run_id else replace(line, words=Words(), thoughts=Words())
        for key, line in transcript.messages.items()
    }
    return replace(
        transcript,
        runs={**transcript.runs, run.run_id: run},
        messages=messages,
        inputs={key: each for key, each in transcript.inputs.items() if each.run_id != run.run_id},
        tools={
            key: line
            for key, line in transcript.tools.items()
            if line.run_id != run.run_id or line.state is not ToolState.WRITING
        },
        discarded={key: owner for key, owner in transcript.discarded.items() if owner != run.run_id},
    )


def _without(transcript: Transcript, message_id: str, run_id: str) -> Transcript:
    """An earlier attempt counts no more: neither its words nor the calls that it had begun to write."""
    if not message_id:
        return transcript
    return replace(
        transcript,
        discarded={**transcript.discarded, message_id: run_id},
        messages={key: line for key, line in transcript.messages.items() if key != message_id},
        tools={
            key: line
            for key, line in transcript.tools.items()
            if line.message_id != message_id or line.state is not ToolState.WRITING
        },
    )


def _redacted(transcript: Transcript, message_id: str) -> Transcript:
    line = transcript.messages.get(message_id)
    if line is None:
        return transcript
    blank = MessageLine(line.message_id, line.run_id, line.role, said="", thought="", redacted=True)
    return _with_message(transcript, blank)


def _spoken(message_id: str, run_id: str, content: Iterable[ContentPart]) -> MessageLine:
    parts = tuple(content)
    return MessageLine(message_id, run_id, MessageRole.MESSAGE_ROLE_USER, said=text_of(parts), content=parts)


def _message(transcript: Transcript, message_id: str, run_id: str) -> MessageLine:
    return transcript.messages.get(message_id) or MessageLine(message_id, run_id)


def _tool(transcript: Transcript, run_id: str, call_id: str) -> ToolLine:
    return transcript.tools.get((run_id, call_id)) or ToolLine(call_id, run_id)


def _run(transcript: Transcript, run_id: str) -> RunLine:
    return transcript.runs.get(run_id) or RunLine(run_id)


def _with_message(transcript: Transcript, line: MessageLine) -> Transcript:
    return replace(transcript, messages={**transcript.messages, line.message_id: line})


def _with_tool(transcript: Transcript, line: ToolLine) -> Transcript:
    return replace(transcript, tools={**transcript.tools, (line.run_id, line.call_id): line})


def _with_run(transcript: Transcript, run_id: str, *, state: RunState.ValueType) -> Transcript:
    line = replace(_run(transcript, run_id), state=state)
    return replace(transcript, runs={**transcript.runs, run_id: line})
