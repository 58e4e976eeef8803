"""What is counted in the database when the runtime is scraped."""

from heddle_database.port import Transaction
from heddle_runtime.runs.state import RunState

_OPEN = {
    RunState.QUEUED: "state = 1",
    RunState.RUNNING: "state = 2",
    RunState.WAITING: "state IN (2, 3) AND state = 3",
}
"""In the words of the partial indexes over them, so that only open runs are looked at."""


def open_runs(tx: Transaction) -> dict[RunState, int]:
    """How many runs have not ended, by state, those of all tenants together."""
    counts = [f"SELECT {int(state)}, COUNT(*) FROM runs WHERE {where}" for state, where in _OPEN.items()]
    return {RunState(state): count for state, count in tx.rows(" UNION ALL ".join(counts))}


MOST_BEHIND = 10_000
"""Threads that are looked at for what is unpublished; a scrape must not read a whole backlog."""


def unpublished(tx: Transaction) -> tuple[int, int]:
    """Threads with events that the bus has not acknowledged, at most `MOST_BEHIND`, and their events."""
    row = tx.row(
        "SELECT COUNT(*), COALESCE(SUM(behind), 0) FROM (SELECT last_sequence - published_sequence AS behind"
        " FROM threads WHERE published_sequence < last_sequence LIMIT :most) AS waiting",
        most=MOST_BEHIND,
    )
    return (int(row[0]), int(row[1])) if row else (0, 0)
