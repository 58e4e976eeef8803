"""How stored values and folds look to clients: one function per message of the contract that is a view."""

from collections.abc import Callable, Collection, Iterable
from typing import Any

import heddle_runtime.threads.state as state
from heddle.runtime.v1 import input_pb2, run_pb2, snapshot_pb2, thread_pb2
from heddle_core.errors import invalid
from heddle_core.ids import RunId
from heddle_runtime.codec.codec import MAPPING, part_message
from heddle_runtime.codec.mapping import timestamp
from heddle_runtime.facade.commands import Message
from heddle_runtime.runs.inputs import InputRequest
from heddle_runtime.runs.run import Run
from heddle_runtime.runs.state import RunState
from heddle_runtime.threads.settings import Thread, ThreadActivity

MESSAGE_WINDOW = 20
"""Messages of a snapshot where the caller does not say (contract: GetSnapshotRequest.message_window)."""


def run_message(run: Run) -> run_pb2.Run:
    """A run as clients see it."""
    message = run_pb2.Run(
        run_id=run.run_id,
        thread_id=run.thread_id,
        state=_number(run.state),
        attempt=run.attempt,
        request_id=run.request_id,
        actor=MAPPING.encode(run.actor),
        agent=MAPPING.encode(run.agent),
        model=run.model,
        parent_run_id=run.parent_run_id,
        root_run_id=run.root_run_id,
        depth=run.depth,
        trigger=MAPPING.encode(run.trigger),
        labels=dict(run.labels),
        cancel_cause=_number(run.cancel_cause),
        cancel_sequence=run.cancel_sequence,
        usage=MAPPING.encode(run.usage),
        limits=MAPPING.encode(run.limits),
        create_time=timestamp(run.create_time),
        retry_of_run_id=run.retry_of_run_id,
        superseded_by_run_id=run.superseded_by_run_id,
        request_sequence=run.request_sequence,
        mode=_number(run.mode),
    )
    if run.result is not None:
        message.result.CopyFrom(MAPPING.encode(run.result))
    if run.failure is not None:
        message.failure.CopyFrom(MAPPING.encode(run.failure))
    if run.start_time is not None:
        message.start_time.CopyFrom(timestamp(run.start_time))
    if run.end_time is not None:
        message.end_time.CopyFrom(timestamp(run.end_time))
    if run.not_before is not None:
        message.not_before.CopyFrom(timestamp(run.not_before))
    return message


def thread_message(thread: Thread) -> thread_pb2.Thread:
    """A thread as clients see it."""
    return thread_pb2.Thread(
        thread_id=thread.thread_id,
        settings=MAPPING.encode(thread.settings),
        state=_number(thread.status),
        activity=_number(thread.activity),
        etag=str(thread.revision),
        last_sequence=thread.last_sequence,
        first_sequence=thread.first_sequence,
        active_run_id=thread.lane_run_id,
        create_time=timestamp(thread.create_time),
        update_time=timestamp(thread.update_time),
        forked_from_thread_id=thread.forked_from_thread_id,
        context_version=thread.context_version,
    )


def input_message(asked: InputRequest) -> input_pb2.InputRequest:
    """An input as clients see it."""
    return MAPPING.encode(asked)


def message_message(message: Message) -> thread_pb2.Message:
    """A message of a thread as clients see it."""
    return thread_pb2.Message(
        message_id=message.message_id,
        run_id=message.run_id,
        sequence=message.sequence,
        role=thread_pb2.MESSAGE_ROLE_USER if message.by_user else thread_pb2.MESSAGE_ROLE_ASSISTANT,
        content=[part_message(part) for part in message.content],
        incomplete=message.incomplete,
        redacted=message.redacted,
        create_time=timestamp(message.create_time),
    )


def snapshot_message(
    fold: state.ThreadFold,
    *,
    read_mask: Collection[str] = (),
    message_window: int | None = None,
    first_sequence: int = 1,
) -> snapshot_pb2.ThreadSnapshot:
    """A thread's fold as clients see it.

    Args:
        fold: the state; it is only read.
        read_mask: top-level fields of ThreadSnapshot to fill in; empty: all.
        message_window: most messages, the newest; None: `MESSAGE_WINDOW`.
        first_sequence: first sequence of the log that is kept, which no fold knows.

    Raises:
        InvalidField: the mask names no field of ThreadSnapshot.
    """
    known = snapshot_pb2.ThreadSnapshot.DESCRIPTOR.fields_by_name
    for path in read_mask:
        if path not in known and path != "*":
            raise invalid("read_mask", f"name top-level fields of ThreadSnapshot; {path[:64]!r} is none of them")
    wanted = set(known) if not read_mask or "*" in read_mask else set(read_mask)
    window = MESSAGE_WINDOW if message_window is None else message_window
    return snapshot_pb2.ThreadSnapshot(
        **{name: _SNAPSHOT_FIELDS[name](fold, window, first_sequence) for name in wanted if name in _SNAPSHOT_FIELDS}
    )


def fold_thread_message(fold: state.ThreadFold, first_sequence: int = 1) -> thread_pb2.Thread:
    """The thread of a fold, as it was at the fold's sequence."""
    return thread_pb2.Thread(
        thread_id=fold.thread_id,
        settings=MAPPING.encode(fold.settings),
        state=_number(fold.status),
        activity=_number(_activity(fold)),
        etag=str(fold.revision),
        last_sequence=fold.last_sequence,
        first_sequence=first_sequence,
        active_run_id=fold.active_run_id,
        create_time=timestamp(fold.create_time),
        update_time=timestamp(fold.update_time),
        forked_from_thread_id=fold.forked_from_thread_id,
        context_version=fold.context_version,
    )


def run_view(run: state.RunFold) -> snapshot_pb2.RunView:
    """A run as its thread's events tell of it."""
    view = snapshot_pb2.RunView(
        run_id=run.run_id,
        state=_number(run.state),
        attempt=run.attempt,
        steps=run.steps,
        usage=MAPPING.encode(run.usage),
        message_id=run.message_id,
        pending_input_ids=list(run.inputs),
        cancel_sequence=run.cancel_sequence,
        agent_id=run.agent.agent_id if run.agent else "",
        model=run.model,
    )
    if run.failure is not None:
        view.failure.CopyFrom(MAPPING.encode(run.failure))
    return view


def _activity(fold: state.ThreadFold) -> ThreadActivity:
    active = fold.active_run
    if active is not None and active.state is RunState.WAITING:
        return ThreadActivity.WAITING
    return ThreadActivity.BUSY if fold.runs else ThreadActivity.IDLE


def _said(run_id: RunId, said: state.UserSaid | state.AgentSaid) -> thread_pb2.Message:
    return message_message(
        Message(
            message_id=said.message_id,
            run_id=run_id,
            sequence=said.sequence,
            by_user=isinstance(said, state.UserSaid),
            content=said.parts,
            incomplete=isinstance(said, state.AgentSaid) and said.incomplete,
            redacted=said.redacted,
            create_time=said.time,
        )
    )


def _history(fold: state.ThreadFold) -> Iterable[tuple[RunId, state.UserSaid | state.AgentSaid]]:
    """The messages of the history with their runs, newest first."""
    for exchange in reversed(fold.history):
        for said in reversed(list(exchange.messages)):
            yield exchange.run_id, said


def _window(fold: state.ThreadFold, window: int) -> list[thread_pb2.Message]:
    newest: list[thread_pb2.Message] = []
    for run_id, said in _history(fold):
        if len(newest) >= window:
            break
        newest.append(_said(run_id, said))
    return newest[::-1]


def _last_assistant_message(fold: state.ThreadFold) -> thread_pb2.Message | None:
    for run_id, said in _history(fold):
        if isinstance(said, state.AgentSaid):
            return _said(run_id, said)
    return None


def _timeline(fold: state.ThreadFold) -> list[snapshot_pb2.TimelineEntry]:
    return [
        snapshot_pb2.TimelineEntry(
            sequence=line.sequence,
            event=line.event,
            run_id=line.run_id,
            summary=line.summary,
            commit_time=timestamp(line.commit_time),
        )
        for line in fold.timeline
    ]


_SNAPSHOT_FIELDS: dict[str, Callable[[state.ThreadFold, int, int], Any]] = {
    "thread": lambda fold, _window, first: fold_thread_message(fold, first),
    "sequence": lambda fold, _window, _first: fold.last_sequence,
    "hash": lambda fold, _window, _first: fold.head_hash,
    "active_run": lambda fold, _window, _first: run_view(fold.active_run) if fold.active_run else None,
    "queued_runs": lambda fold, _window, _first: [run_view(run) for run in fold.queued_runs],
    "last_run": lambda fold, _window, _first: run_view(fold.last_run) if fold.last_run else None,
    "last_assistant_message": lambda fold, _window, _first: _last_assistant_message(fold),
    "messages": lambda fold, window, _first: _window(fold, window),
    "pending_inputs": lambda fold, _window, _first: [
        input_message(asked) for run in fold.runs.values() for asked in run.inputs.values()
    ],
    "plan": lambda fold, _window, _first: MAPPING.encode(fold.plan) if fold.plan else None,
    "approved_plan_version": lambda fold, _window, _first: fold.approved_plan_version,
    "ui_blocks_json": lambda fold, _window, _first: list(fold.ui_blocks.values()),
    "timeline": lambda fold, _window, _first: _timeline(fold),
    "usage": lambda fold, _window, _first: MAPPING.encode(fold.usage),
    "open_child_run_ids": lambda fold, _window, _first: [child for run in fold.runs.values() for child in run.children],
    "resume_after_sequence": lambda fold, _window, _first: fold.last_sequence,
    "fold_version": lambda _fold, _window, _first: state.FOLD_VERSION,
}


def _number(value: int) -> Any:
    """An enum's number, typed as the contract's own enum wants it: both have the same numbers."""
    return int(value)
