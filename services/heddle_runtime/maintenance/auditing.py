"""Verifies a whole database: every thread of every tenant, page by page (`heddle verify --data`)."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from heddle_core.ids import TenantId, ThreadId
from heddle_core.runtime_errors import ChainBroken, ThreadNotFound
from heddle_core.values import value
from heddle_database.port import Transaction
from heddle_database.tables import Readable
from heddle_runtime.store.audit import ThreadAudit, audit_thread, events_kept, orphans, threads_from

THREADS_AT_ONCE = 500

Progress = Callable[[int, int], None]
"""Told how many of how many events are verified; there may be more by then."""


@value
class Problem:
    """Something that is not as it should be."""

    tenant: str
    thread_id: str
    """Empty: it is not about one thread."""
    problem: str


@dataclass(slots=True)
class Audit:
    """What was verified, and what was found."""

    threads: int = 0
    events: int = 0
    snapshots: int = 0
    redacted: int = 0
    seconds: float = 0.0
    problems: list[Problem] = field(default_factory=list[Problem])

    @property
    def events_per_second(self) -> int:
        """How fast it went."""
        return round(self.events / self.seconds) if self.seconds else 0


def _silent(_done: int, _of: int) -> None:
    """Nobody watches."""


async def audit(database: Readable, progress: Progress = _silent) -> Audit:
    """Verify everything. Each thread is read on a snapshot of its own, so a server may go on meanwhile.

    Raises:
        StoreUnavailable: the database is in trouble.
    """
    began = time.monotonic()
    found = Audit()
    total = await database.read(events_kept)
    place = ("", "")
    while page := await database.read(_next_threads(place)):
        for tenant, thread_id in page:
            await _add(database, tenant, thread_id, found)
            progress(found.events, max(total, found.events))
        place = page[-1]
    lost: tuple[str, str] | None = ("", "")
    while lost is not None:
        problems, lost = await database.read(_next_orphans(lost))
        found.problems += [Problem("", "", each) for each in problems]
    found.seconds = time.monotonic() - began
    return found


def _next_threads(place: tuple[str, str]) -> Callable[[Transaction], list[tuple[TenantId, ThreadId]]]:
    return lambda tx: threads_from(tx, *place, THREADS_AT_ONCE)


def _next_orphans(place: tuple[str, str]) -> Callable[[Transaction], tuple[list[str], tuple[str, str] | None]]:
    return lambda tx: orphans(tx, place, THREADS_AT_ONCE)


async def _add(database: Readable, tenant: TenantId, thread_id: ThreadId, found: Audit) -> None:
    def check(tx: Transaction) -> ThreadAudit:
        return audit_thread(tx, tenant, thread_id)

    try:
        one = await database.read(check)
    except ThreadNotFound:  # deleted since it was listed
        return
    except ChainBroken as broken:
        found.problems.append(Problem(tenant, thread_id, f"at {broken.sequence}: {broken.problem}"))
        return
    except ValueError as unreadable:  # a snapshot or payload whose bytes are no longer what they were
        found.problems.append(Problem(tenant, thread_id, f"cannot be read: {unreadable}"))
        return
    found.threads += 1
    found.events += one.events
    found.snapshots += one.snapshots
    found.redacted += one.redacted
    found.problems += [Problem(tenant, thread_id, each) for each in one.problems]
