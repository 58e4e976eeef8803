"""How the owner of a run writes: fenced, in the expected state, at most once per append number (SEMANTICS 13)."""

from heddle_core.ids import RunId
from heddle_core.runtime_errors import RunNotFound, StaleFence
from heddle_core.texts import storable
from heddle_core.values import value
from heddle_runtime.codec.codec import MAPPING
from heddle_runtime.runs.state import InputState, RunState, Transition, advance
from heddle_runtime.store.families import settle_child
from heddle_runtime.store.input_rows import close_inputs, insert_input
from heddle_runtime.store.log import Draft, Head, LogWriter, read_events, total_spent
from heddle_runtime.store.run_rows import get_run
from heddle_runtime.threads.accounting import ENDS, admitted_after_cancel
from heddle_runtime.threads.append import Appended, AppendOutcome, CancelledMeanwhile, Overtaken, OwnerAppend
from heddle_runtime.threads.events import (
    Event,
    InputRequested,
    InputResolved,
    Payload,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunWaiting,
)
from heddle_runtime.threads.log import Committed


def append(writer: LogWriter, command: OwnerAppend, drafts: tuple[Draft, ...]) -> AppendOutcome:
    """Write the owner's facts, with all that follows from them for run, lane, inputs and parent.

    Raises:
        StaleFence: the run was claimed by somebody else since.
    """
    claim = command.claim
    head = writer.lock(claim.tenant, claim.thread_id)
    run, number = _owned(writer, command)
    if number >= command.number:
        return _applied_before(writer, command, head)
    missed = _written_by_others(writer, command, head)
    if run.cancel_sequence and not all(admitted_after_cancel(each) for each in command.payloads):
        return CancelledMeanwhile(run.cancel_sequence)
    if command.decisive and any(event.run_id == run.run_id for event in missed):
        return Overtaken(head.last_sequence)
    state = _state_after(run.state, command.payloads)
    if state.terminal and head.lane_run_id == run.run_id:
        head.lane_run_id = RunId("")
    events = writer.append(head, drafts)
    _update_run(writer, command, run, state)
    for payload in command.payloads:
        _project(writer, command, payload)
    if state.terminal:
        close_inputs(writer.tx, head.tenant, run.run_id)
        if run.parent_run_id:
            settle_child(writer, get_run(writer.tx, head.tenant, run.run_id), state)
    return Appended(events)


@value
class _Owned:
    """What an append must know of its run; reading all of it each time would cost more than writing."""

    run_id: RunId
    state: RunState
    cancel_sequence: int
    parent_run_id: RunId


def _owned(writer: LogWriter, command: OwnerAppend) -> tuple[_Owned, int]:
    claim = command.claim
    row = writer.tx.row(
        "SELECT state, cancel_sequence, parent_run_id, fence, append_number FROM runs"
        f" WHERE tenant = :tenant AND run_id = :run{writer.tx.row_lock}",
        tenant=claim.tenant,
        run=claim.run_id,
    )
    if row is None:
        raise RunNotFound(claim.run_id)
    run, fence, number = _Owned(claim.run_id, RunState(row[0]), row[1], RunId(row[2])), row[3], row[4]
    if fence != claim.fence or (run.state is not RunState.RUNNING and number < command.number):
        raise StaleFence(claim.run_id, claim.fence)
    return run, number


def _applied_before(writer: LogWriter, command: OwnerAppend, head: Head) -> Appended:
    events = read_events(writer.tx, head.tenant, head.thread_id, command.known_sequence, 1_000)
    writer.committed.append(Committed(head.tenant, head.thread_id, events))
    return Appended(events)


def _written_by_others(writer: LogWriter, command: OwnerAppend, head: Head) -> tuple[Event, ...]:
    """What the owner has not seen yet; it is told of it, so that its fold skips nothing (SEMANTICS 34)."""
    if head.last_sequence == command.known_sequence:
        return ()
    missed = read_events(writer.tx, head.tenant, head.thread_id, command.known_sequence, head.last_sequence)
    writer.committed.append(Committed(head.tenant, head.thread_id, missed, by_others=True))
    return missed


def _state_after(state: RunState, payloads: tuple[Payload, ...]) -> RunState:
    for payload in payloads:
        if isinstance(payload, RunWaiting):
            state = advance(state, Transition.PARK)
        elif type(payload) in ENDS:
            state = advance(state, ENDS[type(payload)])
    return state


def _update_run(writer: LogWriter, command: OwnerAppend, run: _Owned, state: RunState) -> None:
    spent = total_spent(command.payloads)
    ending, how_it_ended = _ending(writer, command.payloads) if state.terminal else ("", {})
    changed = writer.tx.run(
        "UPDATE runs SET state = :state, append_number = :number, input_tokens = input_tokens + :input,"
        " output_tokens = output_tokens + :output, cached_input_tokens = cached_input_tokens + :cached,"
        " reasoning_tokens = reasoning_tokens + :reasoning, model_calls = model_calls + :model_calls,"
        f" tool_calls = tool_calls + :tool_calls, cost = cost + :cost{ending}"
        " WHERE tenant = :tenant AND run_id = :run AND fence = :fence AND state = :expected",
        state=int(state),
        number=command.number,
        input=spent.input_tokens,
        output=spent.output_tokens,
        cached=spent.cached_input_tokens,
        reasoning=spent.reasoning_tokens,
        model_calls=spent.model_calls,
        tool_calls=spent.tool_calls,
        cost=spent.cost,
        tenant=command.claim.tenant,
        run=run.run_id,
        fence=command.claim.fence,
        expected=int(run.state),
        **how_it_ended,
    )
    if changed != 1:
        raise StaleFence(run.run_id, command.claim.fence)


def _ending(writer: LogWriter, payloads: tuple[Payload, ...]) -> tuple[str, dict[str, object]]:
    """The columns that only a terminal event sets, with their values."""
    columns: dict[str, object] = {"end_time": writer.tx.now}
    match payloads[-1]:
        case RunCompleted() as completed:
            columns["result"] = MAPPING.encode(completed.result).SerializeToString()
        case RunFailed() as failed:
            # Whoever failed may say anything; the event keeps it as bytes, a text of PostgreSQL holds no NUL.
            message = storable(failed.failure.message)
            columns |= {"failure_reason": int(failed.failure.reason), "failure_message": message}
        case RunCancelled() as cancelled:
            columns["cancel_cause"] = int(cancelled.cause)
        case _:
            pass
    return "".join(f", {name} = :{name}" for name in columns), columns


def _project(writer: LogWriter, command: OwnerAppend, payload: Payload) -> None:
    tenant = command.claim.tenant
    match payload:
        case InputRequested():
            insert_input(writer.tx, tenant, payload.input, InputState.PENDING)
        case InputResolved():
            writer.tx.run(
                "UPDATE inputs SET state = :state, resolve_time = :now WHERE tenant = :tenant AND input_id = :input"
                " AND state <= :pending",
                state=int(payload.state),
                now=writer.tx.now,
                tenant=tenant,
                input=payload.input_id,
                pending=int(InputState.PENDING),
            )
        case _:
            pass
