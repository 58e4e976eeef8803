"""The one fold: what each kind of event does to the state of its thread.

Pure: it reads no clock and no store, the same events give the same state on every replica (GUARANTEES P10).
"""

from collections.abc import Callable, Iterable

import heddle_runtime.threads.events as e
import heddle_runtime.threads.fold_runs as runs
import heddle_runtime.threads.fold_steps as steps
from heddle_core.usage import NOTHING
from heddle_runtime.runs.usage import Limits
from heddle_runtime.threads.accounting import SPENDING, spent
from heddle_runtime.threads.fold_codec import decode
from heddle_runtime.threads.fold_redactions import message_redacted
from heddle_runtime.threads.settings import ThreadStatus
from heddle_runtime.threads.state import (
    TIMELINE_LENGTH,
    ThreadFold,
    TimelineEntry,
)
from heddle_runtime.threads.timeline import case_name, summary
from heddle_runtime.threads.ui_blocks import updated_blocks


class OutOfOrder(Exception):
    """An event was folded that does not follow the one before: a fault of the caller's."""


def fold(state: ThreadFold, events: Iterable[e.Event]) -> ThreadFold:
    """Apply `events` to `state`, in place, and return it.

    Raises:
        OutOfOrder: an event's sequence is not one more than the state's.
    """
    for event in events:
        apply(state, event)
    return state


def apply(state: ThreadFold, event: e.Event) -> None:
    """Apply one event.

    Raises:
        OutOfOrder: the event's sequence is not one more than the state's.
    """
    if event.sequence != state.last_sequence + 1:
        raise OutOfOrder(f"event {event.sequence} of {state.thread_id} cannot follow {state.last_sequence}")
    take_effect(state, event)
    state.last_sequence = event.sequence
    state.head_hash = event.hash
    state.update_time = event.commit_time
    state.timeline.append(
        TimelineEntry(
            event.sequence, case_name(type(event.payload)), event.run_id, summary(event.payload), event.commit_time
        )
    )
    if len(state.timeline) > TIMELINE_LENGTH:
        del state.timeline[0]


def take_effect(state: ThreadFold, event: e.Event) -> None:
    """What one event does to runs, history and settings, without a place in the log: for what is only foreseen."""
    kind = type(event.payload)
    if kind in SPENDING:
        _charge(state, event)
    rule = _RULES.get(kind)
    if rule is not None:
        rule(state, event, event.payload)


def _charge(state: ThreadFold, event: e.Event) -> None:
    usage = spent(event.payload)
    if usage is not NOTHING:
        state.usage += usage
        if event.run_id in state.runs:
            state.runs[event.run_id].usage += usage


def _thread_created(state: ThreadFold, event: e.Event, payload: e.ThreadCreated) -> None:
    state.settings = payload.settings
    state.title_sequence = event.sequence
    state.title_is_manual = bool(payload.settings.title)
    state.create_time = event.commit_time
    state.revision = 1
    state.context_version = 1 if payload.settings.context_json else 0


def _thread_updated(state: ThreadFold, event: e.Event, payload: e.ThreadUpdated) -> None:
    if "context_json" in payload.changed:
        state.context_version += 1
    if "title" in payload.changed and payload.actor.principal:
        state.title_is_manual = True
    state.settings = payload.settings
    state.title_sequence = event.sequence
    state.revision += 1


def _thread_archived(state: ThreadFold, event: e.Event, payload: e.ThreadArchived) -> None:
    state.status = ThreadStatus.ARCHIVED
    state.revision += 1


def _thread_unarchived(state: ThreadFold, event: e.Event, payload: e.ThreadUnarchived) -> None:
    state.status = ThreadStatus.ACTIVE
    state.revision += 1


def _thread_forked(state: ThreadFold, event: e.Event, payload: e.ThreadForked) -> None:
    base = decode(payload.base, state.thread_id)
    state.history = base.history
    for exchange in state.history:
        exchange.inherited = True
    state.summary = base.summary
    state.summary_sequence = event.sequence if base.summary else 0
    state.ui_blocks = base.ui_blocks
    state.settings = payload.settings
    state.title_sequence = event.sequence
    state.title_is_manual = bool(payload.settings.title)
    state.create_time = event.commit_time
    state.forked_from_thread_id = payload.source_thread_id
    state.revision = 1


def _ui_blocks_updated(state: ThreadFold, event: e.Event, payload: e.UiBlocksUpdated) -> None:
    state.ui_blocks = updated_blocks(state.ui_blocks, payload)


def _context_compacted(state: ThreadFold, event: e.Event, payload: e.ContextCompacted) -> None:
    state.summary = payload
    state.summary_sequence = event.sequence
    for exchange in state.history:
        if exchange.run_id != event.run_id and exchange.last_sequence <= payload.through_sequence:
            exchange.summarised = True


def _child_spawned(state: ThreadFold, event: e.Event, payload: e.ChildSpawned) -> None:
    state.runs[event.run_id].children[payload.run_id] = payload.budget or Limits()


def _child_finished(state: ThreadFold, event: e.Event, payload: e.ChildFinished) -> None:
    state.runs[event.run_id].children.pop(payload.run_id, None)


def _error_recorded(state: ThreadFold, event: e.Event, payload: e.ErrorRecorded) -> None:
    if payload.reason == "OUTPUT_SCHEMA_MISMATCH" and event.run_id in state.runs:
        run = state.runs[event.run_id]
        run.mismatches += 1
        run.mismatch = payload.message


_RULES: dict[type, Callable[..., None]] = {
    e.ThreadCreated: _thread_created,
    e.ThreadUpdated: _thread_updated,
    e.ThreadArchived: _thread_archived,
    e.ThreadUnarchived: _thread_unarchived,
    e.ThreadForked: _thread_forked,
    e.MessageRedacted: message_redacted,
    e.TurnRequested: runs.turn_requested,
    e.TurnSteered: runs.turn_steered,
    e.RunStarted: runs.run_started,
    e.RunWaiting: runs.run_waiting,
    e.RunResumed: runs.run_resumed,
    e.RunCompleted: runs.run_completed,
    e.RunFailed: runs.run_failed,
    e.RunCancelRequested: runs.run_cancel_requested,
    e.RunCancelled: runs.run_cancelled,
    e.RunSuperseded: runs.run_superseded,
    e.StepStarted: steps.step_started,
    e.StepCompleted: steps.step_completed,
    e.AssistantMessageCompleted: steps.assistant_message_completed,
    e.ToolCallRequested: steps.tool_call_requested,
    e.ToolCallStarted: steps.tool_call_started,
    e.ToolCallCompleted: steps.tool_call_completed,
    e.InputRequested: steps.input_requested,
    e.InputResolved: steps.input_resolved,
    e.PlanProposed: steps.plan_proposed,
    e.PlanRevised: steps.plan_proposed,
    e.PlanApproved: steps.plan_approved,
    e.UiBlocksUpdated: _ui_blocks_updated,
    e.ContextCompacted: _context_compacted,
    e.ChildSpawned: _child_spawned,
    e.ChildFinished: _child_finished,
    e.ErrorRecorded: _error_recorded,
}
