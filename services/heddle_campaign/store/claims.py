"""Who looks at which cycle: due ones are claimed within the bounds, and open ones are taken when it is their time."""

from collections.abc import Mapping
from dataclasses import replace

from heddle_campaign.facade.ports import Taken
from heddle_campaign.rules.queue import Bounds, DueCycle, choose
from heddle_campaign.rules.states import CampaignState, CycleState, CycleTransition, advance_cycle
from heddle_campaign.store.cycle_rows import COLUMNS, cycle_value
from heddle_core.clock import Micros
from heddle_core.ids import TenantId
from heddle_database.port import Row, Transaction

_CLAIMED = advance_cycle(CycleState.DUE, CycleTransition.CLAIM)
_TAKEN = advance_cycle(CycleState.RUNNING, CycleTransition.TAKE_OVER)

_CANDIDATES = f"""
    WITH at_work AS (
        SELECT tenant, campaign_id, COUNT(*) AS cycles FROM cycles WHERE state < 3 AND state = 2
        GROUP BY tenant, campaign_id
    ), placed AS (
        SELECT y.tenant, y.campaign_id, y.cycle_id, y.due, y.priority,
               (CASE WHEN c.room > :widest THEN c.room ELSE :widest END) - COALESCE(w.cycles, 0) AS free,
               ROW_NUMBER() OVER (
                   PARTITION BY y.tenant, y.campaign_id ORDER BY y.priority DESC, y.due, y.cycle_id
               ) AS place
        FROM cycles y
        JOIN campaigns c ON c.tenant = y.tenant AND c.campaign_id = y.campaign_id
        LEFT JOIN at_work w ON w.tenant = y.tenant AND w.campaign_id = y.campaign_id
        WHERE y.state = 1 AND y.due <= :now AND c.state <> {int(CampaignState.PAUSED)}
    ), fitting AS (
        SELECT tenant, campaign_id, cycle_id, due, priority,
               ROW_NUMBER() OVER (PARTITION BY tenant ORDER BY priority DESC, due, cycle_id) AS place
        FROM placed WHERE place <= free
    )
    SELECT f.cycle_id, f.tenant, f.campaign_id, f.due, f.priority, c.room
    FROM fitting f JOIN campaigns c ON c.tenant = f.tenant AND c.campaign_id = f.campaign_id
    WHERE f.place <= :most
"""
"""The first of each campaign that has room, and of these the first of each tenant: `choose` takes none beyond them."""


def claim(tx: Transaction, worker: str, most: int, bounds: Bounds, until: int) -> Taken:
    """Make due cycles RUNNING and the worker's for `until` microseconds.

    A campaign that `bounds` does not name has room for as many at once as it says itself. Cycles of a campaign that
    is PAUSED wait until it is resumed.
    """
    _wait_for_turn(tx)
    named = bounds.per_campaign or {}
    rows = tx.rows(_CANDIDATES, now=tx.now, most=most, widest=max(named.values(), default=0)) if most > 0 else []
    rooms = {(TenantId(row[1]), row[2]): row[5] for row in rows}
    chosen = choose(
        [DueCycle(row[0], TenantId(row[1]), row[2], Micros(row[3]), row[4]) for row in rows],
        _at_work(tx) if rows else {},
        most,
        replace(bounds, per_campaign={**rooms, **named}),
    )
    claimed = [row for each in chosen if (row := _claimed(tx, each, worker, tx.now + until)) is not None]
    first = tx.row("SELECT MIN(due) FROM cycles WHERE state = 1 AND due > :now", now=tx.now)
    return Taken(tuple(cycle_value(row) for row in claimed), _moment(first), tx.now)


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


def _at_work(tx: Transaction) -> Mapping[tuple[TenantId, str], int]:
    rows = tx.rows(
        "SELECT tenant, campaign_id, COUNT(*) FROM cycles WHERE state < 3 AND state = 2 GROUP BY tenant, campaign_id"
    )
    return {(TenantId(row[0]), row[1]): row[2] for row in rows}


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
