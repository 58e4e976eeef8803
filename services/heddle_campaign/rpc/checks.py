"""What must hold of a message before it becomes a value: what the value could not tell any more."""

import re
from collections.abc import Iterator, Sequence
from datetime import date

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
    return Wish(settings_value(_without_faults(meant) if faults else meant), fields, faults)


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


def _of_campaign(message: campaign_pb2.Campaign) -> Iterator[Violation]:
    for place, agent in enumerate(message.agents):
        if agent.HasField("daily_budget"):
            yield from _of_money(agent.daily_budget, f"campaign.agents[{place}].daily_budget")
    if message.HasField("schedule"):
        yield from _of_schedule(message.schedule, "campaign.schedule")
    for place, trigger in enumerate(message.triggers):
        if trigger.WhichOneof("condition") is None:
            kinds = "set one of trend_spike, viral_post, performance_dip and custom"
            yield Violation(f"campaign.triggers[{place}].condition", kinds)
    if message.HasField("budget"):
        yield from _of_money(message.budget, "campaign.budget")


def _of_schedule(message: schedule_pb2.Schedule, path: str) -> Iterator[Violation]:
    for place, text in enumerate(message.excluded_dates):
        if not _is_date(text):
            yield Violation(f"{path}.excluded_dates[{place}]", "a day as `2026-12-25`")
    for place, stretch in enumerate(message.excluded_ranges):
        yield from _of_range(stretch, f"{path}.excluded_ranges[{place}]")


def _of_range(message: schedule_pb2.TimeRange, path: str) -> Iterator[Violation]:
    for name in ("start_time", "end_time"):
        if not EARLIEST <= micros_of(getattr(message, name)) <= LATEST:
            yield Violation(f"{path}.{name}", "must lie between the years 1970 and 2200")
    if micros_of(message.end_time) <= micros_of(message.start_time):
        yield Violation(f"{path}.end_time", f"must be after {path}.start_time")


def _of_money(amount: Money, path: str) -> Iterator[Violation]:
    if amount.currency_code not in ("", "USD"):
        yield Violation(f"{path}.currency_code", "USD: budgets are counted in US dollars")
    if not 0 <= amount.units <= _MOST_DOLLARS or amount.nanos < 0:
        yield Violation(f"{path}.units", f"0 to {_MOST_DOLLARS:,}; leave the budget out for no bound")


def _without_faults(message: campaign_pb2.Campaign) -> campaign_pb2.Campaign:
    """The same with something harmless where `_of_campaign` finds a fault; no place in a list moves."""
    for agent in message.agents:
        if any(_of_money(agent.daily_budget, "")):
            agent.ClearField("daily_budget")
    if any(_of_money(message.budget, "")):
        message.ClearField("budget")
    for trigger in message.triggers:
        if trigger.WhichOneof("condition") is None:
            trigger.viral_post.SetInParent()
    dates = [each if _is_date(each) else _SOME_DATE for each in message.schedule.excluded_dates]
    if dates:
        message.schedule.excluded_dates[:] = dates
    for stretch in message.schedule.excluded_ranges:
        if any(_of_range(stretch, "")):
            stretch.start_time.FromJsonString(f"{_SOME_DATE}T00:00:00Z")
            stretch.end_time.FromJsonString(f"{_SOME_DATE}T01:00:00Z")
    return message


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return _DATE.fullmatch(text) is not None


def _refuse(violations: Iterator[Violation]) -> None:
    found = tuple(violations)
    if found:
        raise InvalidField(found)
