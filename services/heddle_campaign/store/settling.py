"""The round over due campaigns: one ordered claim, then each is decided by itself, all in one transaction."""

from dataclasses import dataclass

from heddle_campaign.facade.ports.decisions import Change, Decision, Settled
from heddle_campaign.rules.campaigns import Campaign
from heddle_campaign.rules.cycles import Cycle
from heddle_campaign.store import campaign_rows
from heddle_campaign.store.deciding import IDLE, NO_CYCLES, Beside, due_beside, told, write_cycles
from heddle_core.clock import Micros
from heddle_core.log_lines import LogLines
from heddle_database.port import Row, Transaction

LOOK_AGAIN = 1_000_000
"""Microseconds after which it is looked whether what another replica held is settled; it may have held it for more."""

_log = LogLines(__name__)


@dataclass(frozen=True, slots=True)
class Failed:
    """A campaign that could not be decided, and why."""

    tenant: str
    campaign_id: str
    problem: Exception


@dataclass(frozen=True, slots=True)
class Round:
    """What was settled, and what could not be."""

    settled: Settled
    failures: tuple[Failed, ...]


def settle(tx: Transaction, decision: Decision, most: int, again: int) -> Round:
    """Decide on due campaigns; one whose decision fails is asked again in `again` microseconds."""
    skip = f"{tx.row_lock} SKIP LOCKED" if tx.row_lock else ""  # whoever holds a campaign is deciding on it
    rows = tx.rows(
        f"SELECT {campaign_rows.COLUMNS} FROM campaigns WHERE next_due > 0 AND state = 2 AND next_due <= :now"
        f" ORDER BY next_due, tenant, campaign_id LIMIT :most{skip}",
        now=tx.now,
        most=most,
    )
    # Counted after the lock: what is seen of a campaign that another has just let go of is what that one wrote.
    beside = due_beside(tx, rows[-1][3], (rows[-1][0], rows[-1][1])) if rows else NO_CYCLES
    written: list[tuple[Campaign, Campaign]] = []
    cycles: list[Cycle] = []
    failures: list[Failed] = []
    for row in rows:
        decided = _decided(row, beside.get((row[0], row[1]), IDLE), decision, tx.now)
        if isinstance(decided, Failed):
            campaign_rows.put_off(tx, decided.tenant, decided.campaign_id, Micros(tx.now + again))
            failures.append(decided)
            continue
        before, change = decided
        done = write_cycles(tx, before, change)
        written.append((before, done.campaign))
        cycles.extend(done.cycles)
    campaign_rows.update_campaigns(tx, *written)
    settled = Settled(
        tuple(new for _, new in written), tuple(cycles), _next(tx, written, full=len(rows) == most), tx.now
    )
    return Round(settled, tuple(failures))


def tell_failures(done: Round) -> None:
    """Log what could not be decided."""
    for each in done.failures:
        _log.error("campaign not settled", exc_info=each.problem, tenant=each.tenant, campaign_id=each.campaign_id)


def _decided(row: Row, beside: Beside, decision: Decision, now: Micros) -> tuple[Campaign, Change] | Failed:
    """No statement is carried out here, so that whatever fails has spoiled nothing."""
    try:
        campaign = campaign_rows.campaign_value(row)
        return campaign, decision(told(campaign, beside, now))
    except Exception as problem:
        return Failed(row[0], row[1], problem)


def _next(tx: Transaction, written: list[tuple[Campaign, Campaign]], *, full: bool) -> Micros | None:
    """When the next campaign is due."""
    known = [new.next_due for _, new in written]
    row = tx.row("SELECT MIN(next_due) FROM campaigns WHERE next_due > 0 AND state = 2")
    first = Micros(row[0]) if row and row[0] is not None else None
    if first is None or full or first > tx.now or first in known:
        return first
    return Micros(tx.now + LOOK_AGAIN)
