"""One cell from its beginning to its verdict: phase one breaks, phase two heals, then the checker reads everything."""

import asyncio
import contextlib
import pickle
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.broker import brought_along
from tests.faults.cells import POSTGRES, Cell
from tests.faults.checker.check import check, count, killed_at
from tests.faults.checker.evidence import Violation, read
from tests.faults.checker.family_rows import read_families
from tests.faults.stores import Store, postgres_store, sqlite_store
from tests.faults.workload import Crowd
from tests.faults.world import World, world

_MOST_TOLD = 10
"""Violations of one promise that a report holds."""


@dataclass
class Report:
    """What came of a cell."""

    cell: str
    seed: int
    outcome: str
    """passed, VIOLATED, VACUOUS, SKIPPED or BROKEN (the suite itself failed)."""
    why: str = ""
    kills: int = 0
    missed: int = 0
    seconds: float = 0.0
    settled: float = 0.0
    phases: dict[str, float] = field(default_factory=dict)
    """Seconds that each part of the cell took, in order."""
    points: dict[str, int] = field(default_factory=dict)
    """How often a process was killed at each place that it names."""
    counts: dict[str, int] = field(default_factory=dict)
    violations: list[dict[str, str]] = field(default_factory=list)


class _Watch:
    """What took how long."""

    def __init__(self) -> None:
        self._began = self._last = time.monotonic()
        self.phases: dict[str, float] = {}

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._began

    def note(self, phase: str) -> None:
        """A phase is over."""
        now = time.monotonic()
        self.phases[phase] = round(now - self._last, 2)
        self._last = now


async def run_cell(cell: Cell, times: int, seed: int, folder: Path, source: Path) -> Report:
    """Carry a cell out; its journals and rows stay in the folder."""
    watch = _Watch()
    temper, settings = cell.temper, dict(cell.settings)
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(make_store(cell, folder))
        broker = await stack.enter_async_context(brought_along(folder, seed)) if cell.broker else None
        settings.update({"NATS": broker.server.url} if broker else {})
        built = await stack.enter_async_context(
            world(
                folder,
                seed,
                store,
                source,
                nodes=cell.nodes,
                temper=temper,
                settings=settings,
                clock_is_set=cell.clock_is_set,
            )
        )
        built.extras.update(
            store.parts, fresh_store=_start_afresh, broker=broker.server if broker else None, source=source
        )
        await built.start()
        if cell.archived:
            await built.drain()
            await store.archive()
            await built.start()
        await built.crowd.furnish(built.extras["tools_at"])
        watch.note("built")
        async with _bustling(built.crowd, wanted=cell.bustles):
            await cell.how(built, cell.told, times)
            await built.start()
        watch.note("broken")
        settled = await built.settle()
        watch.note("settled")
        if broker:
            await broker.consumer.quiet()
            watch.note("quiet")
        await _look_twice(built)
        watch.note("looked")
        await built.drain()
        tables = await store.read()
        families = await asyncio.to_thread(read_families, *store.place)
    watch.note("taken down")
    evidence = read(folder, tables, families)
    violations = check(evidence)
    watch.note("checked")
    if violations:
        (folder / "rows.pickle").write_bytes(pickle.dumps(tables))
    report = Report(
        cell.full_name,
        seed,
        "passed",
        kills=built.kills,
        missed=built.missed,
        seconds=watch.seconds,
        settled=settled,
        phases=watch.phases,
        points=killed_at(evidence),
        counts=asdict(count(evidence)),
        violations=[asdict(each) for each in shortened(violations)],
    )
    return _judged(report, cell, violations)


def shortened(violations: list[Violation]) -> list[Violation]:
    """The first ones of each promise: however often one is broken, the others that are must be told, too."""
    seen: Counter[str] = Counter()
    kept: list[Violation] = []
    for each in violations:
        seen[each.promise] += 1
        if seen[each.promise] <= _MOST_TOLD:
            kept.append(each)
    return kept


def make_store(cell: Cell, folder: Path) -> AbstractAsyncContextManager[Store]:
    """An empty database for a cell."""
    small_disk = "mount" in cell.needs
    if cell.store == POSTGRES:
        return postgres_store(folder, proxied=cell.proxied, small_disk=small_disk)
    return sqlite_store(folder, small_disk=small_disk)


def _judged(report: Report, cell: Cell, violations: list[Violation]) -> Report:
    lacking = [name for name in cell.shows if not report.counts[name]]
    if violations:
        report.outcome, report.why = "VIOLATED", ", ".join(sorted({each.promise for each in violations}))
    elif lacking:
        report.outcome, report.why = "VACUOUS", f"no {', '.join(lacking)}"
    elif report.missed > report.kills // 2:
        report.outcome, report.why = "VACUOUS", f"the place was reached {report.kills - report.missed} times"
    return report


@asynccontextmanager
async def _bustling(crowd: Crowd, *, wanted: bool) -> AsyncGenerator[None]:
    """Have the crowd at work in the block, and wait until everybody has finished."""
    working = asyncio.create_task(crowd.bustle() if wanted else asyncio.sleep(0))
    try:
        yield
    finally:
        crowd.rest()
        await working


async def _look_twice(built: World) -> None:
    """Look at all threads, start anew, and look again: what is read from the store is what was held in memory."""
    await built.crowd.look_everywhere()
    await built.drain()
    await built.start()
    await built.crowd.look_everywhere()


async def _start_afresh(built: World) -> None:
    """Empty the database, and forget what was said about it: nothing of it counts any more."""
    await built.store.begin_anew()
    for name in ("clients.jsonl", "ledger.jsonl", "model.jsonl"):
        with contextlib.suppress(FileNotFoundError):
            (built.folder / name).open("r+").truncate(0)


def as_dict(report: Report) -> dict[str, Any]:
    """A report for the file of results."""
    return asdict(report)
