"""What must hold of a message before it becomes a value: what the value could not tell any more."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from functools import partial

from google.type.money_pb2 import Money

from heddle.campaign.v1alpha1 import campaign_pb2, schedule_pb2
from heddle_campaign.codec.campaigns import SETTINGS, settings_value
from heddle_campaign.codec.schedules import schedule_value, stretch_value
from heddle_campaign.facade.campaigns import Wish
from heddle_campaign.rules.schedule import Schedule, Stretch
from heddle_campaign.rules.validation import EARLIEST, LATEST
from heddle_client.wire_times import micros_of
from heddle_core.errors import InvalidField
from heddle_core.faults import Violation

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_SOME_DATE = "2000-01-01"
_MOST_DOLLARS = 1_000_000_000


def wish_of(message: campaign_pb2.Campaign, fields: Sequence[str] = SETTINGS) -> Wish:
    """The settings in a message, of which `fields` are meant; the others are left alone.

    What no value can say is among its faults, and has something harmless in its place, so that whoever checks the
    values tells all that is wrong at once.
    """
    meant = campaign_pb2.Campaign()
    meant.CopyFrom(message)
    for name in SETTINGS:
        if name not in fields:
            meant.ClearField(name)
    faults = tuple(_of_campaign(meant))
    for each in faults:
        each.mend()
    return Wish(settings_value(meant), fields, tuple(each.violation for each in faults))


def fields_set(message: campaign_pb2.Campaign) -> tuple[str, ...]:
    """The settings that a message does not leave empty."""
    said = {descriptor.name for descriptor, _ in message.ListFields()}
    return tuple(name for name in SETTINGS if name in said)


def schedule_of(message: schedule_pb2.Schedule) -> Schedule:
    """A schedule that is not saved. Raises InvalidField."""
    _refuse(_of_schedule(message, "schedule"))
    return schedule_value(message)


def stretch_of(message: schedule_pb2.TimeRange) -> Stretch:
    """The stretch in a request's `range`. Raises InvalidField."""
    _refuse(_of_range(message, "range"))
    return stretch_value(message)


@dataclass(frozen=True, slots=True)
class _Fault:
    """What is wrong with a message."""

    violation: Violation
    mend: Callable[[], object]
    """Puts something harmless in its place, of which nothing is wrong; no place in a list moves."""


def _of_campaign(message: campaign_pb2.Campaign) -> Iterator[_Fault]:
    for place, agent in enumerate(message.agents):
        if agent.HasField("daily_budget"):
            clear = partial(agent.ClearField, "daily_budget")
            yield from _of_money(agent.daily_budget, f"campaign.agents[{place}].daily_budget", clear)
    if message.HasField("schedule"):
        yield from _of_schedule(message.schedule, "campaign.schedule")
    for place, trigger in enumerate(message.triggers):
        if trigger.WhichOneof("condition") is None:
            kinds = "set one of trend_spike, viral_post, performance_dip and custom"
            yield _Fault(Violation(f"campaign.triggers[{place}].condition", kinds), trigger.viral_post.SetInParent)
    if message.HasField("budget"):
        yield from _of_money(message.budget, "campaign.budget", partial(message.ClearField, "budget"))


def _of_schedule(message: schedule_pb2.Schedule, path: str) -> Iterator[_Fault]:
    for place, text in enumerate(message.excluded_dates):
        if not _is_date(text):
            mend = partial(message.excluded_dates.__setitem__, place, _SOME_DATE)
            yield _Fault(Violation(f"{path}.excluded_dates[{place}]", "a day as `2026-12-25`"), mend)
    for place, stretch in enumerate(message.excluded_ranges):
        yield from _of_range(stretch, f"{path}.excluded_ranges[{place}]")


def _of_range(message: schedule_pb2.TimeRange, path: str) -> Iterator[_Fault]:
    mend = partial(_place_some_range, message)
    for name in ("start_time", "end_time"):
        if not EARLIEST <= micros_of(getattr(message, name)) <= LATEST:
            yield _Fault(Violation(f"{path}.{name}", "must lie between the years 1970 and 2200"), mend)
    if micros_of(message.end_time) <= micros_of(message.start_time):
        yield _Fault(Violation(f"{path}.end_time", f"must be after {path}.start_time"), mend)


def _of_money(amount: Money, path: str, clear: Callable[[], object]) -> Iterator[_Fault]:
    if amount.currency_code not in ("", "USD"):
        yield _Fault(Violation(f"{path}.currency_code", "USD: budgets are counted in US dollars"), clear)
    if not 0 <= amount.units <= _MOST_DOLLARS or amount.nanos < 0:
        remedy = f"0 to {_MOST_DOLLARS:,}; leave the budget out for no bound"
        yield _Fault(Violation(f"{path}.units", remedy), clear)


def _place_some_range(message: schedule_pb2.TimeRange) -> None:
    message.start_time.FromJsonString(f"{_SOME_DATE}T00:00:00Z")
    message.end_time.FromJsonString(f"{_SOME_DATE}T01:00:00Z")


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return _DATE.fullmatch(text) is not None


def _refuse(faults: Iterator[_Fault]) -> None:
    found = tuple(each.violation for each in faults)
    if found:
        raise InvalidField(found)
