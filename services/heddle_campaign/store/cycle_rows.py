"""Cycles as rows: the columns that are looked at in SQL, a body for the rest, and where their turns are."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from heddle_campaign.rules.cycles import Cycle
from heddle_campaign.rules.states import CycleState
from heddle_campaign.store.bodies import cycle_body, cycle_of, prepared_body
from heddle_core.clock import Micros
from heddle_database.port import Row, Transaction

COLUMNS = "tenant, cycle_id, body, prepared, state, owner, look_at, start_time, revision"

_MUTABLE = (
    "rotation_key",
    "owner",
    "state",
    "due",
    "priority",
    "budget",
    "look_at",
    "start_time",
    "end_time",
    "prepared",
    "body",
)


def cycle_value(row: Row) -> Cycle:
    """A cycle from its row, with the columns of `COLUMNS`; what a claim changes in SQL is read from them."""
    return replace(
        cycle_of(row[2], row[3]),
        state=CycleState(row[4]),
        owner=row[5],
        look_at=Micros(row[6]),
        start_time=Micros(row[7]) if row[7] else None,
        revision=row[8],
    )


def find_cycle(tx: Transaction, tenant: str, cycle_id: str, *, locked: bool = False) -> Cycle | None:
    """A cycle by its id; `locked`: nobody claims it before the commit."""
    row = tx.row(
        f"SELECT {COLUMNS} FROM cycles WHERE tenant = :tenant AND cycle_id = :cycle{tx.row_lock if locked else ''}",
        tenant=tenant,
        cycle=cycle_id,
    )
    return cycle_value(row) if row else None


def find_cycles(tx: Transaction, tenant: str, cycle_ids: Sequence[str]) -> tuple[Cycle, ...]:
    """The cycles of some ids that are still there, in the order of the ids."""
    found = (find_cycle(tx, tenant, each) for each in cycle_ids)
    return tuple(each for each in found if each is not None)


def open_cycles(tx: Transaction, tenant: str, campaign_id: str, *, locked: bool = False) -> tuple[Cycle, ...]:
    """A campaign's cycles that are DUE or RUNNING, oldest first; `locked`: nobody claims them before the commit."""
    rows = tx.rows(
        f"SELECT {COLUMNS} FROM cycles WHERE tenant = :tenant AND campaign_id = :campaign AND state < 3"
        f" ORDER BY scheduled_time, cycle_id{tx.row_lock if locked else ''}",
        tenant=tenant,
        campaign=campaign_id,
    )
    return tuple(cycle_value(row) for row in rows)


def insert_cycles(tx: Transaction, cycles: Iterable[Cycle]) -> tuple[Cycle, ...]:
    """Write new cycles, and return them as they stand then; one whose key is taken is left out, and left as it is."""
    written: list[Cycle] = []
    for given in cycles:
        ended = tx.now if given.state.terminal else None
        cycle = replace(given, revision=1, end_time=given.end_time or ended)
        row = tx.row(
            f"INSERT INTO cycles (tenant, cycle_id, campaign_id, scheduled_time, origin, {', '.join(_MUTABLE)},"
            f" revision) VALUES (:tenant, :cycle, :campaign, :scheduled_time, :origin,"
            f" {', '.join(f':{name}' for name in _MUTABLE)}, 1) ON CONFLICT DO NOTHING RETURNING revision",
            **_mutable(cycle),
            tenant=cycle.key.tenant,
            cycle=cycle.cycle_id,
            campaign=cycle.key.campaign_id,
            scheduled_time=cycle.key.scheduled_time,
            origin=int(cycle.key.origin),
        )
        if row is not None:
            _write_turns(tx, (), cycle)
            written.append(cycle)
    return tuple(written)


def update_cycle(tx: Transaction, old: Cycle, new: Cycle) -> Cycle | None:
    """Write what may change, where the row still is as `old` says; how it stands then, or None where it was not."""
    sets = ", ".join(f"{name} = :{name}" for name in _MUTABLE)
    row = tx.row(
        f"UPDATE cycles SET {sets}, revision = revision + 1 WHERE tenant = :tenant AND cycle_id = :cycle"
        " AND revision = :revision AND state = :expected RETURNING revision",
        **_mutable(new),
        tenant=old.key.tenant,
        cycle=old.cycle_id,
        revision=old.revision,
        expected=int(old.state),
    )
    if row is None:
        return None
    if old.turns != new.turns:
        _write_turns(tx, old.turns, new)
    return replace(new, revision=row[0])


def _mutable(cycle: Cycle) -> dict[str, object]:
    return {
        "rotation_key": cycle.rotation_key,
        "owner": cycle.owner,
        "state": int(cycle.state),
        "due": cycle.due,
        "priority": cycle.priority,
        "budget": -1 if cycle.budget is None else cycle.budget,
        "look_at": cycle.look_at,
        "start_time": cycle.start_time or 0,
        "end_time": cycle.end_time or 0,
        "prepared": prepared_body(cycle),
        "body": cycle_body(cycle),
    }


def _write_turns(tx: Transaction, before: Sequence[object], cycle: Cycle) -> None:
    """Keep what turns are found and counted by. A cycle's turns are planned once, so none ever goes."""
    tx.many(
        "INSERT INTO cycle_turns (tenant, cycle_id, campaign_id, place, role, thread_id, cost)"
        " VALUES (:tenant, :cycle, :campaign, :place, :role, :thread, :cost) ON CONFLICT (tenant, cycle_id, place)"
        " DO UPDATE SET role = :role, thread_id = :thread, cost = :cost",
        [
            {
                "tenant": cycle.key.tenant,
                "cycle": cycle.cycle_id,
                "campaign": cycle.key.campaign_id,
                "place": place,
                "role": turn.role,
                "thread": turn.thread_id,
                "cost": turn.usage.cost,
            }
            for place, turn in enumerate(cycle.turns)
            if place >= len(before) or before[place] != turn
        ],
    )
