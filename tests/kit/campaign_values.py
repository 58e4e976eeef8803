"""Values for tests of what is decided about campaigns: moments in minutes, campaigns that stand somehow, cycles."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from heddle_campaign.facade.lifecycle import activate
from heddle_campaign.facade.ports.decisions import Change, Standing
from heddle_campaign.rules.campaigns import Campaign, CampaignAgent
from heddle_campaign.rules.cycle_keys import CycleOrigin
from heddle_campaign.rules.cycles import Cycle, CycleTurn
from heddle_campaign.rules.overlap import Load
from heddle_campaign.rules.recurrence import Interval
from heddle_campaign.rules.schedule import Schedule
from heddle_campaign.rules.states import CycleState, TurnState
from heddle_core.clock import Micros
from tests.kit.campaign_stores import ACME, NOW, campaign_of, cycle_of

MINUTE = 60_000_000
WRITER = CampaignAgent("writer", "agent_writer")
ARTIST = CampaignAgent("artist", "agent_artist")


def minute(number: float) -> Micros:
    """A moment so many minutes after the first."""
    return Micros(NOW + round(number * MINUTE))


def hourly(**fields: Any) -> Schedule:
    """A time each hour from the first moment on."""
    given: dict[str, Any] = {"version": 1, "recurrences": (Interval(timedelta(hours=1)),), "start": NOW, **fields}
    return Schedule(ACME, "c1", **given)


def standing(campaign: Campaign, at: float = 0, *, running: int = 0, waiting: int = 0, **fields: Any) -> Standing:
    """A campaign at a decision, `at` minutes after the first moment."""
    load = Load(running, waiting, campaign.settings.max_concurrent_cycles)
    return Standing(campaign, load, minute(at), minute(at), **fields)


def active(at: float = 0, **settings: Any) -> Campaign:
    """A campaign that was activated `at` minutes after the first moment."""
    return activate(standing(campaign_of(**settings), at)).campaign


def fired(change: Change) -> list[Cycle]:
    """The cycles of a change that are DUE."""
    return [each for each in change.cycles if each.state is CycleState.DUE]


def ended_cycle(state: CycleState = CycleState.COMPLETED, *turns: CycleTurn, **fields: Any) -> Cycle:
    """A cycle that has ended."""
    return replace(cycle_of(state=state, start_time=NOW, end_time=minute(1), turns=turns), **fields)


def turn_of(role: str = "writer", state: TurnState = TurnState.COMPLETED, **fields: Any) -> CycleTurn:
    """A turn of a cycle."""
    given: dict[str, Any] = {"run_id": "run_1", "thread_id": "thread_1", **fields}
    return CycleTurn(role, f"agent_{role}", state, **given)


def by_hand(**fields: Any) -> Cycle:
    """A cycle that was triggered."""
    return cycle_of(origin=CycleOrigin.MANUAL, **fields)
