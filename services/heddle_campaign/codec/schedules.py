"""Where schedules and the messages of the contract meet: for the wire and for what is stored."""

from datetime import date, timedelta
from typing import assert_never

from heddle.campaign.v1alpha1 import schedule_pb2 as pb
from heddle_campaign.rules.recurrence import Cron, Interval, MissingTime, Once, Recurrence, RepeatedTime, Rrule
from heddle_campaign.rules.schedule import START_UNSAID, DateSpan, OverlapPolicy, Schedule, Stretch
from heddle_campaign.rules.times import ScheduledTime
from heddle_client.wire_times import duration, micros_of, span_of, timestamp, timestamp_if
from heddle_core.clock import Micros
from heddle_core.ids import TenantId

_NEVER_VALID = Micros(1)
"""What stands for a start at the very epoch, which is refused as all of its year is."""

_DEFAULT_CATCH_UP = timedelta(hours=1)


def schedule_value(message: pb.Schedule, *, tenant: TenantId = TenantId(""), campaign_id: str = "") -> Schedule:
    """A schedule from its message, whose dates can be read; one that was never set has version 0."""
    return Schedule(
        tenant=tenant,
        campaign_id=campaign_id,
        version=message.version,
        recurrences=_recurrences(message),
        start=(micros_of(message.start_time) or _NEVER_VALID) if message.HasField("start_time") else START_UNSAID,
        time_zone=message.time_zone or "UTC",
        end=micros_of(message.end_time) if message.HasField("end_time") else None,
        jitter=span_of(message.jitter),
        excluded_dates=tuple(_day(each) for each in message.excluded_dates),
        excluded_ranges=tuple(stretch_value(each) for each in message.excluded_ranges),
        missing_time=MissingTime(message.missing_time or MissingTime.SHIFT),
        repeated_time=RepeatedTime(message.repeated_time or RepeatedTime.FIRST),
        overlap=OverlapPolicy(message.overlap or OverlapPolicy.SKIP),
        catch_up_window=span_of(message.catch_up_window) if message.HasField("catch_up_window") else _DEFAULT_CATCH_UP,
        max_cycles=message.max_cycles,
    )


def schedule_message(schedule: Schedule) -> pb.Schedule:
    """A schedule as its message."""
    message = pb.Schedule(
        version=schedule.version,
        time_zone=schedule.time_zone,
        start_time=timestamp(schedule.start) if schedule.start != START_UNSAID else None,
        end_time=timestamp_if(schedule.end),
        jitter=duration(schedule.jitter) if schedule.jitter else None,
        excluded_dates=[day.isoformat() for span in schedule.excluded_dates for day in _days(span)],
        excluded_ranges=[stretch_message(each) for each in schedule.excluded_ranges],
        missing_time=pb.MissingTimePolicy.ValueType(schedule.missing_time),
        repeated_time=pb.RepeatedTimePolicy.ValueType(schedule.repeated_time),
        overlap=pb.OverlapPolicy.ValueType(schedule.overlap),
        catch_up_window=duration(schedule.catch_up_window),
        max_cycles=schedule.max_cycles,
    )
    for recurrence in schedule.recurrences:
        _tell_recurrence(message, recurrence)
    return message


def stretch_value(message: pb.TimeRange) -> Stretch:
    """A stretch from its message."""
    return Stretch(micros_of(message.start_time), micros_of(message.end_time))


def stretch_message(stretch: Stretch) -> pb.TimeRange:
    """A stretch as its message."""
    return pb.TimeRange(start_time=timestamp(stretch.start), end_time=timestamp(stretch.end))


def scheduled_time_message(time: ScheduledTime) -> pb.ScheduledTime:
    """A time that a schedule would fire as its message."""
    return pb.ScheduledTime(
        scheduled_time=timestamp(time.at), local_time=time.local, shifted=time.shifted, repeated=time.repeated
    )


def _recurrences(message: pb.Schedule) -> tuple[Recurrence, ...]:
    match message.WhichOneof("recurrence"):
        case "cron":
            return (Cron(message.cron),)
        case "interval":
            return (Interval(span_of(message.interval)),)
        case "rrule":
            return (Rrule(message.rrule),)
        case "once":
            return (Once((micros_of(message.once),)),)
        case None:
            return ()


def _tell_recurrence(message: pb.Schedule, recurrence: Recurrence) -> None:
    match recurrence:
        case Cron():
            message.cron = recurrence.expression
        case Interval():
            message.interval.CopyFrom(duration(recurrence.every))
        case Rrule():
            message.rrule = recurrence.rule
        case Once():
            message.once.CopyFrom(timestamp(recurrence.times[0]))
        case _:
            assert_never(recurrence)


def _day(text: str) -> DateSpan:
    day = date.fromisoformat(text)
    return DateSpan(day, day)


def _days(span: DateSpan) -> list[date]:
    return [span.first + timedelta(days=each) for each in range((span.last - span.first).days + 1)]
