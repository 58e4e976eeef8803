"""What the events of a run do to the state of its thread: from the turn to its end. Pure."""

import heddle_runtime.threads.events as e
from heddle_core.ids import RunId
from heddle_runtime.runs.state import RunState, Transition, advance
from heddle_runtime.threads.state import (
    HISTORY_MESSAGES,
    Exchange,
    RunFold,
    ThreadFold,
    UserSaid,
)


def turn_requested(state: ThreadFold, event: e.Event, payload: e.TurnRequested) -> None:
    run = RunFold(
        run_id=event.run_id,
        request_id=payload.request_id,
        turn=payload.turn,
        message_id=payload.message_id,
        actor=payload.actor,
        requested_sequence=event.sequence,
        requested_time=event.commit_time,
        root_run_id=payload.root_run_id,
        depth=payload.depth,
        retry_of_run_id=payload.retry_of_run_id,
        interrupts_run_id=payload.interrupts_run_id,
        agent=payload.turn.agent,
        model=payload.turn.model,
        exchange=Exchange(event.run_id, context=payload.turn.context),
    )
    said = UserSaid(payload.message_id, payload.turn.content, event.sequence, event.commit_time)
    run.exchange.entries.append(said)
    if payload.interrupts_run_id:
        waiting = [each for each in state.runs if each != state.active_run_id]
        state.runs = {
            **{each: state.runs[each] for each in state.runs if each not in waiting},
            event.run_id: run,
            **{each: state.runs[each] for each in waiting},
        }
    else:
        state.runs[event.run_id] = run


def turn_steered(state: ThreadFold, event: e.Event, payload: e.TurnSteered) -> None:
    run = state.runs[event.run_id]
    run.steered.append(payload.message_id)
    run.exchange.entries.append(UserSaid(payload.message_id, payload.content, event.sequence, event.commit_time))


def run_started(state: ThreadFold, event: e.Event, payload: e.RunStarted) -> None:
    run = state.runs[event.run_id]
    if run.attempt == 0:
        state.history.append(run.exchange)
        _trim(state)
    _claimed(state, run, event, payload)
    run.agent = payload.agent
    run.model = payload.model


def run_resumed(state: ThreadFold, event: e.Event, payload: e.RunResumed) -> None:
    _claimed(state, state.runs[event.run_id], event, payload)


def _claimed(state: ThreadFold, run: RunFold, event: e.Event, payload: e.RunStarted | e.RunResumed) -> None:
    if run.state is RunState.RUNNING:  # its worker was lost, and nobody was left to write that down
        run.state = advance(run.state, Transition.RELEASE)
        run.worked = run.worked_until(event.commit_time)
    run.state = advance(run.state, Transition.CLAIM)
    run.attempt = payload.attempt
    run.fence = payload.fence
    run.working_since = event.commit_time
    state.active_run_id = run.run_id


def run_waiting(state: ThreadFold, event: e.Event, payload: e.RunWaiting) -> None:
    run = state.runs[event.run_id]
    run.state = advance(run.state, Transition.PARK)
    run.worked = run.worked_until(event.commit_time)
    run.working_since = None


def run_completed(state: ThreadFold, event: e.Event, payload: e.RunCompleted) -> None:
    run = state.runs[event.run_id]
    run.result = payload.result
    _ended(state, run, event, Transition.COMPLETE)


def run_failed(state: ThreadFold, event: e.Event, payload: e.RunFailed) -> None:
    run = state.runs[event.run_id]
    run.failure = payload.failure
    _ended(state, run, event, Transition.FAIL)


def run_cancelled(state: ThreadFold, event: e.Event, payload: e.RunCancelled) -> None:
    run = state.runs[event.run_id]
    run.cancel_cause = payload.cause
    run.rolled_back = payload.rolled_back
    _ended(state, run, event, Transition.CANCEL)
    if payload.rolled_back:
        _drop(state, run.run_id)


def _ended(state: ThreadFold, run: RunFold, event: e.Event, transition: Transition) -> None:
    run.state = advance(run.state, transition)
    run.worked = run.worked_until(event.commit_time)
    run.working_since = None
    run.inputs.clear()
    del state.runs[run.run_id]
    state.last_run = run
    if state.active_run_id == run.run_id:
        state.active_run_id = RunId("")


def run_cancel_requested(state: ThreadFold, event: e.Event, payload: e.RunCancelRequested) -> None:
    run = state.runs[event.run_id]
    run.cancel_sequence = event.sequence
    run.cancel_cause = payload.cause


def run_superseded(state: ThreadFold, event: e.Event, payload: e.RunSuperseded) -> None:
    _drop(state, payload.superseded_run_id)


def _drop(state: ThreadFold, run_id: str) -> None:
    state.history = [exchange for exchange in state.history if exchange.run_id != run_id]


def _trim(state: ThreadFold) -> None:
    """Let go of the oldest exchanges beyond what windows need; without a summary of them only in the worst case."""
    kept = sum(1 for exchange in state.history for _ in exchange.messages)
    while kept > HISTORY_MESSAGES and len(state.history) > 1:
        if not state.history[0].summarised and kept <= 2 * HISTORY_MESSAGES:
            return
        kept -= sum(1 for _ in state.history.pop(0).messages)
