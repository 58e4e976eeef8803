"""One decision on one locked campaign, inside a transaction: what it is told, and what it has written."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from heddle_campaign.facade.ports.decisions import Asked, Change, Standing
from heddle_campaign.rules.campaigns import Campaign
from heddle_campaign.rules.cycle_keys import CycleOrigin
from heddle_campaign.rules.cycles import Cycle
from heddle_campaign.rules.overlap import Load
from heddle_campaign.rules.schedule import Stretch
from heddle_campaign.rules.states import CampaignState, CycleState
from heddle_campaign.store import campaign_rows, cycle_rows, firing_rows, gap_rows
from heddle_campaign.store.cycle_steps import recounted_all, stopped
from heddle_core.clock import Micros
from heddle_database.port import Transaction

CampaignKey = tuple[str, str]
"""Tenant and campaign."""


@dataclass(frozen=True, slots=True)
class Beside:
    """What is counted of a campaign's cycles before a decision."""

    running: int = 0
    waiting: int = 0
    last_beside: int = -1
    """Scheduled time of the last cycle by hand or signal."""


IDLE = Beside()
NO_CYCLES: Mapping[CampaignKey, Beside] = {}


@dataclass(frozen=True, slots=True)
class Written:
    """What a decision has written."""

    campaign: Campaign
    cycles: tuple[Cycle, ...]


def standing_of(tx: Transaction, campaign: Campaign, asked: Asked) -> Standing:
    """What a decision is told of a campaign."""
    tenant, campaign_id = campaign.tenant, campaign.campaign_id
    found = told(campaign, beside_of(tx, tenant, campaign_id), tx.now)
    if asked.stretch is not None:
        found = replace(found, taken=_taken(tx, tenant, campaign_id, asked.stretch))
    if asked.dedupe_key or campaign.settings.triggers:
        history = firing_rows.history_of(tx, tenant, campaign_id, asked.dedupe_key)
        started = firing_rows.started_by(tx, tenant, campaign_id, asked.dedupe_key)
        found = replace(found, history=history, started=started)
    return found


def told(campaign: Campaign, beside: Beside, now: Micros) -> Standing:
    """A campaign and what was counted of it."""
    load = Load(beside.running, beside.waiting, campaign.settings.max_concurrent_cycles)
    return Standing(campaign, load, now, Micros(max(now, beside.last_beside + 1)))


def beside_of(tx: Transaction, tenant: str, campaign_id: str) -> Beside:
    """Count one campaign's cycles."""
    own: dict[str, object] = {"tenant": tenant, "campaign": campaign_id}
    counted = dict(
        tx.rows(
            "SELECT state, COUNT(*) FROM cycles WHERE tenant = :tenant AND campaign_id = :campaign AND state < 3"
            " GROUP BY state",
            **own,
        )
    )
    last = tx.row(
        "SELECT MAX(scheduled_time) FROM cycles WHERE tenant = :tenant AND campaign_id = :campaign AND origin >= 3",
        **own,
    )
    return Beside(
        counted.get(int(CycleState.RUNNING), 0),
        counted.get(int(CycleState.DUE), 0),
        last[0] if last and last[0] is not None else -1,
    )


def due_beside(tx: Transaction, last: Micros, key: CampaignKey) -> Mapping[CampaignKey, Beside]:
    """Count the cycles of all due campaigns up to one in the order of the round; those without any are left out.

    Thousands may be due at one moment, as at nine in the morning: what comes behind in the round is not counted yet.
    """
    due = (
        "FROM campaigns c CROSS JOIN cycles y WHERE c.next_due > 0 AND c.state = 2"
        " AND (c.next_due, c.tenant, c.campaign_id) <= (:last, :tenant, :campaign)"
    )
    same = "y.tenant = c.tenant AND y.campaign_id = c.campaign_id"
    upto: dict[str, object] = {"last": last, "tenant": key[0], "campaign": key[1]}
    found: dict[CampaignKey, Beside] = {}
    for tenant, campaign_id, state, number in tx.rows(
        f"SELECT y.tenant, y.campaign_id, y.state, COUNT(*) {due} AND {same} AND y.state < 3"
        " GROUP BY y.tenant, y.campaign_id, y.state",
        **upto,
    ):
        present = found.get((tenant, campaign_id), IDLE)
        named = {"running" if state == CycleState.RUNNING else "waiting": number}
        found[tenant, campaign_id] = replace(present, **named)
    for tenant, campaign_id, time in tx.rows(
        f"SELECT y.tenant, y.campaign_id, MAX(y.scheduled_time) {due} AND {same} AND y.origin >= 3"
        " GROUP BY y.tenant, y.campaign_id",
        **upto,
    ):
        found[tenant, campaign_id] = replace(found.get((tenant, campaign_id), IDLE), last_beside=time)
    return found


def write(tx: Transaction, before: Campaign, change: Change) -> Written:
    """Write what a decision says, and return how it stands then."""
    written = write_cycles(tx, before, change)
    if written.campaign != before:
        campaign_rows.update_campaigns(tx, (before, written.campaign))
    return written


def write_cycles(tx: Transaction, before: Campaign, change: Change) -> Written:
    """As `write`, without the row of the campaign itself: the caller writes it."""
    tenant, campaign_id = before.tenant, before.campaign_id
    campaign = change.campaign
    if change.cancel_open:
        campaign = _cancelled(tx, campaign)
    gap_rows.insert_gaps(tx, tenant, campaign_id, change.gaps)
    cycles = cycle_rows.insert_cycles(tx, change.cycles)
    if change.fired is not None:
        firing_rows.insert_firing(tx, tenant, campaign_id, change.fired)
    return Written(campaign, cycles)


def _cancelled(tx: Transaction, campaign: Campaign) -> Campaign:
    """Have all open cycles cancelled; the campaign with the counters that follow."""
    pairs = [
        (each, stopped(each, _why(campaign), tx.now))
        for each in cycle_rows.open_cycles(tx, campaign.tenant, campaign.campaign_id, locked=True)
    ]
    for old, new in pairs:
        if new != old:
            cycle_rows.update_cycle(tx, old, new)
    state = campaign.schedule_state
    counters = recounted_all(state.counters, pairs)
    return (
        campaign if counters == state.counters else replace(campaign, schedule_state=replace(state, counters=counters))
    )


def _why(campaign: Campaign) -> str:
    match campaign.state:
        case CampaignState.PAUSED:
            return campaign.pause_note or "its campaign was paused"
        case CampaignState.COMPLETED:
            return campaign.pause_note or "its campaign was completed"
        case _:
            return "a later cycle took its place"


def _taken(tx: Transaction, tenant: str, campaign_id: str, stretch: Stretch) -> frozenset[Micros]:
    rows = tx.rows(
        "SELECT scheduled_time FROM cycles WHERE tenant = :tenant AND campaign_id = :campaign"
        f" AND origin IN ({int(CycleOrigin.SCHEDULE)}, {int(CycleOrigin.BACKFILL)})"
        " AND scheduled_time >= :start AND scheduled_time < :end",
        tenant=tenant,
        campaign=campaign_id,
        start=stretch.start,
        end=stretch.end,
    )
    return frozenset(Micros(row[0]) for row in rows)
