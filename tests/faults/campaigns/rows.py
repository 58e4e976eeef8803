"""What a sitting has left on record: its journal, and the rows of both databases, read by plain SQL.

Nothing of Heddle is imported, here and in the checks: what a row means is said once more.
"""

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import asyncpg  # pyright: ignore[reportMissingTypeStubs]

_asyncpg = cast(Any, asyncpg)

ACTIVE, PAUSED_STATE = 2, 3
"""States of a campaign."""

DUE, RUNNING, COMPLETED, FAILED, CANCELLED, SKIPPED = range(1, 7)
"""States of a cycle. A turn that is PENDING has the first, and the next four are a turn's, too."""

SCHEDULE, BACKFILL = 1, 2
"""What made a cycle."""

RUN_COMPLETED, RUN_FAILED, RUN_CANCELLED = 4, 5, 6
"""How a run ends."""

PAUSED, MISSED, DROPPED = "paused", "missed", "dropped"

_GAPS = {1: MISSED, 2: PAUSED, 3: DROPPED}

_WATCH = """
    CREATE TABLE watched_moves (
        cycle_id TEXT, from_owner TEXT, to_owner TEXT, from_state BIGINT, to_state BIGINT, replica TEXT, at BIGINT
    );
    CREATE FUNCTION watch_move() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO watched_moves VALUES (
            NEW.cycle_id, OLD.owner, NEW.owner, OLD.state, NEW.state,
            session_user, extract(epoch FROM clock_timestamp()) * 1000000
        );
        RETURN NULL;
    END $$;
    CREATE TRIGGER watch_moves AFTER UPDATE ON cycles FOR EACH ROW
        WHEN (OLD.owner <> NEW.owner OR OLD.state <> NEW.state) EXECUTE FUNCTION watch_move();
"""


@dataclass(frozen=True)
class Turn:
    """One agent's turn in a cycle."""

    role: str
    state: int
    attempt: int
    run_id: str


@dataclass(frozen=True)
class Cycle:
    """A row of `cycles`; times are microseconds since 1970, zero where there is none."""

    cycle_id: str
    campaign_id: str
    scheduled: int
    origin: int
    state: int
    due: int
    start: int
    end: int
    retries: int = 0
    turns: tuple[Turn, ...] = ()
    stopped: bool = False
    """Whether it was to be cancelled."""

    @property
    def never_began(self) -> bool:
        """Whether it was cancelled while it waited."""
        return self.state == CANCELLED and not self.start


@dataclass(frozen=True)
class Gap:
    """A row of `cycle_gaps`: a stretch, end excluded."""

    campaign_id: str
    kind: str
    start: int
    end: int
    times: int


@dataclass(frozen=True)
class Run:
    """A row of the runtime's `runs`."""

    run_id: str
    cycle_id: str
    request_id: str
    state: int


@dataclass(frozen=True)
class Move:
    """A change of a cycle's owner or state, as the database itself saw it."""

    cycle_id: str
    from_owner: str
    to_owner: str
    from_state: int
    to_state: int
    replica: str = ""
    """Who wrote it."""
    at: int = 0

    @property
    def takes_over(self) -> bool:
        """Whether another worker goes on with what one had begun."""
        return self.from_state == self.to_state == RUNNING and self.from_owner not in ("", self.to_owner)


@dataclass(frozen=True)
class Evidence:
    """All that is known of one sitting."""

    lines: Sequence[Mapping[str, Any]] = ()
    """The journal's."""
    states: Mapping[str, int] = field(default_factory=dict[str, int])
    """By campaign."""
    counters: Mapping[str, Mapping[str, int]] = field(default_factory=dict[str, Mapping[str, int]])
    """By campaign."""
    cycles: Sequence[Cycle] = ()
    gaps: Sequence[Gap] = ()
    runs: Sequence[Run] = ()
    moves: Sequence[Move] = ()

    def told(self, kind: str) -> list[Mapping[str, Any]]:
        """The journal's lines of one kind."""
        return [line for line in self.lines if line["kind"] == kind]


@dataclass(frozen=True)
class Standing:
    """What is not over yet."""

    active: int
    paused: tuple[str, ...]
    open_cycles: int


async def watch(campaign_url: str) -> None:
    """Have the database put each change of a cycle's owner and state aside: its row shows the last one alone."""
    async with _connected(campaign_url) as connection:
        await connection.execute(_WATCH)


async def standing(campaign_url: str) -> Standing:
    """What is not over yet."""
    async with _connected(campaign_url) as connection:
        active = await connection.fetchval(f"SELECT COUNT(*) FROM campaigns WHERE state = {ACTIVE}")
        paused = await connection.fetch(f"SELECT campaign_id FROM campaigns WHERE state = {PAUSED_STATE}")
        open_ = await connection.fetchval(f"SELECT COUNT(*) FROM cycles WHERE state IN ({DUE}, {RUNNING})")
        return Standing(active, tuple(each["campaign_id"] for each in paused), open_)


async def read(journal: Path, campaign_url: str, runtime_url: str) -> Evidence:
    """Everything."""
    async with _connected(campaign_url) as connection:
        campaigns = await connection.fetch("SELECT campaign_id, state, body FROM campaigns")
        cycles = await connection.fetch(
            "SELECT cycle_id, campaign_id, scheduled_time, origin, state, due, start_time, end_time, body FROM cycles"
        )
        gaps = await connection.fetch("SELECT campaign_id, outcome, start_time, end_time, times FROM cycle_gaps")
        moves = await connection.fetch(
            "SELECT cycle_id, from_owner, to_owner, from_state, to_state, replica, at FROM watched_moves ORDER BY at"
        )
    async with _connected(runtime_url) as connection:
        runs = await connection.fetch("SELECT run_id, trigger_reference, request_id, state FROM runs")
    return Evidence(
        [json.loads(line) for line in journal.read_text().splitlines()],  # noqa: ASYNC240 - all is over
        {row[0]: row[1] for row in campaigns},
        {row[0]: json.loads(row[2])["schedule_state"]["counters"] for row in campaigns},
        [_cycle(row) for row in cycles],
        [Gap(row[0], _GAPS[row[1]], *row[2:]) for row in gaps],
        [Run(*row) for row in runs],
        [Move(*row) for row in moves],
    )


def _cycle(row: Sequence[Any]) -> Cycle:
    body = json.loads(row[8])
    turns = tuple(Turn(each["role"], each["state"], each["attempt"], each["run_id"]) for each in body["turns"])
    return Cycle(*row[:8], retries=body["retry_count"], turns=turns, stopped=body["stop"])


@asynccontextmanager
async def _connected(url: str) -> AsyncGenerator[Any]:
    connection = await _asyncpg.connect(url)
    try:
        yield connection
    finally:
        await connection.close()
