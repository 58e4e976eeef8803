"""Where cycles, signals and gaps meet the messages of the contract."""

from heddle.campaign.v1alpha1 import cycle_pb2, memory_pb2, signal_pb2
from heddle.common.v1.error_reason_pb2 import ErrorReason
from heddle_campaign.codec.schedules import stretch_message
from heddle_campaign.rules.cycle_keys import turn_request_id
from heddle_campaign.rules.cycles import Cycle, CycleFailure, CycleTurn, MemoryUse, Signal
from heddle_campaign.rules.records import Outcome, RangeRecord
from heddle_campaign.rules.schedule import Stretch
from heddle_campaign.rules.states import CycleState
from heddle_client.runs import money, usage_message
from heddle_client.wire_times import micros_of, timestamp, timestamp_if
from heddle_core.clock import Micros

_GAPS = {
    Outcome.PAUSED: cycle_pb2.GAP_KIND_PAUSED,
    Outcome.MISSED: cycle_pb2.GAP_KIND_MISSED,
    Outcome.DROPPED: cycle_pb2.GAP_KIND_DROPPED,
}


def cycle_message(cycle: Cycle) -> cycle_pb2.Cycle:
    """A cycle as clients see it."""
    return cycle_pb2.Cycle(
        cycle_id=cycle.cycle_id,
        campaign_id=cycle.key.campaign_id,
        schedule_version=cycle.key.schedule_version,
        scheduled_time=timestamp(cycle.key.scheduled_time),
        origin=cycle_pb2.CycleOrigin.ValueType(cycle.key.origin),
        state=cycle_pb2.CycleState.ValueType(cycle.state),
        skip_reason=cycle_pb2.SkipReason.ValueType(cycle.skip_reason),
        topic=cycle.topic,
        rotation_key=cycle.rotation_key,
        evidence=signal_message(cycle.evidence) if cycle.evidence is not None else None,
        turns=[_turn_message(cycle.cycle_id, each) for each in cycle.turns],
        budget=money(cycle.budget) if cycle.budget is not None else None,
        usage=usage_message(cycle.usage),
        summary=cycle.summary if cycle.state >= CycleState.COMPLETED else "",
        retry_count=cycle.retry_count,
        start_time=timestamp_if(cycle.start_time),
        end_time=timestamp_if(cycle.end_time),
        end_note=cycle.skip_note or cycle.stop_note,
    )


def gap_message(gap: RangeRecord) -> cycle_pb2.CycleGap:
    """A stretch without cycles as clients see it."""
    return cycle_pb2.CycleGap(
        kind=_GAPS[gap.outcome],
        schedule_version=gap.schedule_version,
        range=stretch_message(Stretch(gap.start, gap.end)),
        count=gap.count,
    )


def signal_value(message: signal_pb2.Signal, now: Micros) -> Signal:
    """A signal from its message; one that does not say when it happened happened now."""
    return Signal(
        kind=message.kind,
        payload_json=message.payload_json or "{}",
        dedupe_key=message.dedupe_key,
        occur_time=micros_of(message.occur_time) if message.HasField("occur_time") else now,
        source=message.source,
    )


def signal_message(signal: Signal) -> signal_pb2.Signal:
    """A signal as its message."""
    return signal_pb2.Signal(
        kind=signal.kind,
        payload_json=signal.payload_json,
        dedupe_key=signal.dedupe_key,
        occur_time=timestamp(signal.occur_time),
        source=signal.source,
    )


def _turn_message(cycle_id: str, turn: CycleTurn) -> cycle_pb2.CycleTurn:
    return cycle_pb2.CycleTurn(
        role=turn.role,
        agent_id=turn.agent_id,
        state=cycle_pb2.CycleTurnState.ValueType(turn.state),
        attempt=turn.attempt,
        request_id=turn_request_id(cycle_id, turn.role, turn.attempt),
        thread_id=turn.thread_id,
        run_id=turn.run_id,
        objective=turn.objective,
        budget=money(turn.budget) if turn.budget is not None else None,
        memories=[_use_message(each) for each in turn.memories],
        usage=usage_message(turn.usage),
        failure=_failure_message(turn.failure) if turn.failure is not None else None,
        next_attempt_time=timestamp_if(turn.next_attempt),
    )


def _use_message(use: MemoryUse) -> memory_pb2.MemoryUse:
    return memory_pb2.MemoryUse(memory_id=use.memory_id, score=use.score, explanation=use.explanation)


def _failure_message(failure: CycleFailure) -> cycle_pb2.CycleFailure:
    # What only runs have is no error of any call.
    known = ErrorReason.DESCRIPTOR.values_by_name.get(f"ERROR_REASON_{failure.reason}")
    return cycle_pb2.CycleFailure(
        reason=ErrorReason.ValueType(known.number if known is not None else 0),
        reason_name=failure.reason,
        run_failed=failure.of_run,
        message=failure.message,
        retryable=failure.retryable,
    )
