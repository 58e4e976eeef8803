"""Who looks at which cycle: due ones are claimed within the bounds, and open ones are taken when it is their time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from heddle_campaign.facade.ports.decisions import Taken
from heddle_campaign.rules.queue import Bounds, DueCycle, Rate, Spent, choose, spend
from heddle_campaign.rules.states import CampaignState, CycleState, CycleTransition, advance_cycle
from heddle_campaign.store.cycle_rows import COLUMNS, cycle_value
from heddle_core.clock import Micros
from heddle_core.ids import TenantId
from heddle_database.port import Row, Transaction

CampaignKey = tuple[TenantId, str]
"""Tenant and campaign."""

_CLAIMED = advance_cycle(CycleState.DUE, CycleTransition.CLAIM)
_TAKEN = advance_cycle(CycleState.RUNNING, CycleTransition.TAKE_OVER)

_TENANTS = """
    WITH RECURSIVE found (tenant) AS (
        SELECT MIN(tenant) FROM cycles WHERE state = 1
        UNION ALL
        SELECT (SELECT MIN(y.tenant) FROM cycles y WHERE y.state = 1 AND y.tenant > found.tenant) FROM found
        WHERE found.tenant IS NOT NULL
    )
    SELECT tenant FROM found WHERE tenant IS NOT NULL
"""
"""Tenants with waiting cycles, from one to the next in the index, so that a thousand cycles of one cost one step."""

_WAITING = f"""
    SELECT y.cycle_id, y.campaign_id, y.due, y.priority, c.room
    FROM cycles y JOIN campaigns c ON c.tenant = y.tenant AND c.campaign_id = y.campaign_id
    WHERE y.tenant = :tenant AND y.state = 1 AND y.due <= :now AND c.state <> {int(CampaignState.PAUSED)}
    AND (SELECT COUNT(*) FROM cycles w WHERE w.tenant = y.tenant AND w.campaign_id = y.campaign_id
         AND w.state = 2) < CASE WHEN c.room > :widest THEN c.room ELSE :widest END
    ORDER BY y.priority DESC, y.due, y.cycle_id LIMIT :page OFFSET :passed
"""
"""A tenant's waiting cycles whose campaign has room, in the order of `choose`."""


def claim(tx: Transaction, worker: str, most: int, bounds: Bounds, until: int) -> Taken:
    """Make due cycles RUNNING and the worker's for `until` microseconds.

    A campaign that `bounds` does not name has room for as many at once as it says itself. Cycles of a campaign that
    is PAUSED wait until it is resumed.
    """
    _wait_for_turn(tx)
    at_work = _at_work(tx)
    tenants = [TenantId(row[0]) for row in tx.rows(_TENANTS)] if most > 0 else []
    found = [_candidates(tx, tenant, most, at_work, bounds) for tenant in tenants]
    rooms = {key: room for each in found for key, room in each.rooms.items()}
    waiting = [cycle for each in found for cycle in each.cycles]
    chosen = choose(waiting, at_work, most, replace(bounds, per_campaign=rooms))
    allowed, free_at = _within_rate(tx, chosen, bounds.rate)
    claimed = [row for each in allowed if (row := _claimed(tx, each, worker, tx.now + until)) is not None]
    first = _moment(tx.row("SELECT MIN(due) FROM cycles WHERE state = 1 AND due > :now", now=tx.now))
    again = [each for each in (first, free_at) if each is not None]
    return Taken(tuple(cycle_value(row) for row in claimed), min(again, default=None), tx.now)


def take(tx: Transaction, worker: str, most: int, until: int) -> Taken:
    """Make open cycles that it is time to look at the worker's for `until` microseconds."""
    skip = f"{tx.row_lock} SKIP LOCKED" if tx.row_lock else ""  # whoever holds a cycle is writing what became of it
    rows = tx.rows(
        f"SELECT {COLUMNS} FROM cycles WHERE state = 2 AND look_at > 0 AND look_at <= :now ORDER BY look_at, due,"
        f" cycle_id LIMIT :most{skip}",
        now=tx.now,
        most=most,
    )
    look_at = Micros(tx.now + until)
    taken = [
        replace(each, state=_TAKEN, owner=worker, look_at=look_at, revision=each.revision + 1)
        for each in map(cycle_value, rows)
    ]
    tx.many(
        "UPDATE cycles SET state = :state, owner = :owner, look_at = :look_at, revision = :revision"
        " WHERE tenant = :tenant AND cycle_id = :cycle",
        [
            {
                "state": int(each.state),
                "owner": each.owner,
                "look_at": each.look_at,
                "revision": each.revision,
                "tenant": each.key.tenant,
                "cycle": each.cycle_id,
            }
            for each in taken
        ],
    )
    # What others hold gets another time from them: only after a full round there is more to take at once.
    after = 0 if len(rows) == most else tx.now
    first = tx.row("SELECT MIN(look_at) FROM cycles WHERE state = 2 AND look_at > :after", after=after)
    return Taken(tuple(taken), _moment(first), tx.now)


def _wait_for_turn(tx: Transaction) -> None:
    """One claims at a time, so that two who count what is at work do not both fill the last place."""
    if tx.row_lock:
        tx.rows(f"SELECT name FROM cycle_claims{tx.row_lock}")


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Waiting cycles of one tenant, and how many of each campaign may be at work."""

    cycles: list[DueCycle]
    rooms: dict[CampaignKey, int]


def _candidates(
    tx: Transaction, tenant: TenantId, most: int, at_work: Mapping[CampaignKey, int], bounds: Bounds
) -> _Candidates:
    """The first cycles of a tenant that could begin if it were alone, at most `most`: `choose` takes none beyond."""
    named: Mapping[CampaignKey, int] = bounds.per_campaign or {}
    found = _Candidates([], {})
    left: dict[CampaignKey, int] = {}
    passed, page, widest = 0, 2 * most, max(named.values(), default=0)
    while len(found.cycles) < most:
        rows = tx.rows(_WAITING, tenant=tenant, now=tx.now, widest=widest, page=page, passed=passed)
        for cycle_id, campaign_id, due, priority, room in rows:
            key = tenant, campaign_id
            found.rooms[key] = named.get(key, int(room))
            left[key] = left.get(key, found.rooms[key] - at_work.get(key, 0)) - 1
            if left[key] >= 0:
                found.cycles.append(DueCycle(cycle_id, tenant, campaign_id, Micros(due), priority))
        if len(rows) < page:
            break
        passed, page = passed + page, 2 * page
    return found


def _at_work(tx: Transaction) -> Mapping[CampaignKey, int]:
    rows = tx.rows("SELECT tenant, campaign_id, COUNT(*) FROM cycles WHERE state = 2 GROUP BY tenant, campaign_id")
    return {(TenantId(row[0]), row[1]): row[2] for row in rows}


def _within_rate(
    tx: Transaction, chosen: Sequence[DueCycle], rate: Rate | None
) -> tuple[Sequence[DueCycle], Micros | None]:
    """Those that may begin by their tenants' rate, and when the first of the others may."""
    if rate is None or not chosen:
        return chosen, None
    stored = {TenantId(row[0]): Spent(Micros(row[1])) for row in tx.rows("SELECT tenant, full_at FROM cycle_rates")}
    spent, allowed, waits = dict(stored), list[DueCycle](), list[Micros]()
    for each in chosen:
        spent[each.tenant], free_at = spend(rate, spent.get(each.tenant, Spent()), tx.now)
        if free_at is None:
            allowed.append(each)
        else:
            waits.append(free_at)
    tx.many(
        "INSERT INTO cycle_rates (tenant, full_at) VALUES (:tenant, :full_at)"
        " ON CONFLICT (tenant) DO UPDATE SET full_at = excluded.full_at",
        [{"tenant": key, "full_at": each.full_at} for key, each in spent.items() if stored.get(key) != each],
    )
    return allowed, min(waits, default=None)


def _claimed(tx: Transaction, cycle: DueCycle, worker: str, until: int) -> Row | None:
    """The cycle's row, unless it was cancelled meanwhile."""
    return tx.row(
        f"UPDATE cycles SET state = :claimed, owner = :worker, look_at = :until, start_time = :now,"
        f" revision = revision + 1 WHERE tenant = :tenant AND cycle_id = :cycle AND state = 1 RETURNING {COLUMNS}",
        claimed=int(_CLAIMED),
        worker=worker,
        until=until,
        now=tx.now,
        tenant=cycle.tenant,
        cycle=cycle.cycle_id,
    )


def _moment(row: Row | None) -> Micros | None:
    return Micros(row[0]) if row is not None and row[0] is not None else None
