"""The table of cells: what is broken, on which store, how often, and what must be there for it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tests.faults import breaking, bus_breaking, reader_breaking, store_breaking, tracing
from tests.faults.breaking import Breaking
from tests.faults.temper import Temper, leaning

SQLITE, POSTGRES = "sqlite", "postgres"


@dataclass(frozen=True)
class Cell:
    """One thing that goes wrong, many times over."""

    name: str
    store: str
    how: Breaking
    told: str = ""
    """What `how` is told beside the number of times."""
    times: int = 20
    """Zero: it is part of the quick form alone."""
    quick: int = 0
    """Times in the quick form; zero: it is not part of that."""
    nodes: int = 1
    needs: tuple[str, ...] = ()
    """Of `strace`, `mount`, `nats`, `postgres`: without one of them the cell is SKIPPED."""
    shows: tuple[str, ...] = ("takeovers",)
    """Counts that may not be zero: without them nothing was tested, and the cell is VACUOUS."""
    temper: Temper = Temper()
    settings: tuple[tuple[str, str], ...] = ()
    bustles: bool = True
    """Whether the crowd is at work while things are broken; if not, `how` sees to it."""
    proxied: bool = False
    """Whether runtimes reach PostgreSQL through a proxy that can lose answers."""
    broker: bool = False
    """Whether events are published, to a broker that can be broken."""

    @property
    def full_name(self) -> str:
        """As the command line names it."""
        return f"{self.store}/{self.name}"


_TOOLS = leaning({"write/say": 12, "write/write/say": 8, "slow/say": 8, "once/say": 8})
_ASKING = leaning({"ask/say": 16, "asked/say": 12, "later/say": 8}, {"answer": 40})
_LONG = leaning({"say": 40}, threads=1, turns_per_thread=400)

_CANCELLING = leaning({"slow/say": 20, "write/write/say": 8}, {"cancel": 30})
_MIXED = leaning({"write/say": 8, "ask/say": 10, "asked/say": 6, "slow/say": 4}, {"cancel": 14, "answer": 30})
_SLOW = leaning({"slow/say": 20})
_JOINING = leaning({"say": 40}, {"stream": 40, "watch": 30}, pace=60)
_REDACTING = leaning(actions={"redact": 25})

POINTS: tuple[tuple[str, Temper], ...] = (
    ("request_decoded", Temper()),
    ("committed_unanswered", Temper()),
    ("lease_taken", Temper()),
    ("before_model", Temper()),
    ("mid_stream", Temper()),
    ("model_done", Temper()),
    ("intent_committed", _TOOLS),
    ("tool_done", _TOOLS),
    ("result_committed", _TOOLS),
    ("input_requested", _ASKING),
    ("input_resolved", _ASKING),
    ("cancel_committed", _CANCELLING),
    ("terminal_committed", Temper()),
)
"""Kill points that any turn may pass, with the workload that passes them often."""


def cells() -> Iterator[Cell]:
    """All of them, in the order of the table."""
    yield from _on(SQLITE, nodes=1)
    yield from _with_broker(SQLITE, nodes=1)
    yield from _with_bad_disk()
    for cell in (*_on(POSTGRES, nodes=1), *_with_broker(POSTGRES, nodes=1), *_with_bad_postgres(), *_replicas()):
        yield replace(cell, needs=(*cell.needs, "postgres"))


def _on(store: str, nodes: int) -> Iterator[Cell]:
    for point, temper in POINTS:
        yield Cell(point, store, breaking.kill_at, point, times=32, nodes=nodes, temper=temper)
    every = ",".join(point for point, _ in POINTS)
    yield Cell("points", store, breaking.kill_at, every, times=0, quick=len(POINTS), nodes=nodes, temper=_MIXED)
    snapshot = Cell("snapshot", store, breaking.kill_at, "snapshot", times=8, nodes=nodes, temper=_LONG)
    yield replace(snapshot, shows=("snapshots",))
    yield Cell("any_time", store, breaking.kill_at_any_time, times=60, nodes=nodes)
    yield Cell("drain", store, breaking.kill_in_drain, times=24, quick=2 if store == SQLITE else 0, nodes=nodes)
    yield Cell("zombie", store, breaking.freeze, times=50, quick=2 if store == SQLITE else 0, nodes=nodes, temper=_SLOW)
    yield Cell("migration", store, breaking.kill_in_migration, times=12, shows=(), bustles=False)
    synced = Cell("synced", store, tracing.trace_acknowledgements, times=30, quick=3, bustles=False)
    yield replace(synced, needs=("strace",), shows=())
    yield Cell("redactions", store, breaking.kill_at_any_time, times=20, nodes=nodes, temper=_REDACTING)
    slow = Cell("slow_readers", store, reader_breaking.stall_readers, times=6, shows=("cut_readers",))
    yield replace(slow, settings=reader_breaking.SETTINGS, bustles=False)
    yield Cell("joining", store, breaking.leave_alone, times=10, nodes=nodes, shows=(), temper=_JOINING)
    yield Cell("calm", store, breaking.leave_alone, times=10, nodes=nodes, shows=())


def _with_broker(store: str, nodes: int) -> Iterator[Cell]:
    bus = Cell("", store, breaking.kill_at, nodes=nodes, shows=("published",), broker=True)
    point = "published_unmarked"
    yield replace(bus, name=point, told=point, times=32, shows=("published", "takeovers"))
    yield replace(bus, name="nats_killed", how=bus_breaking.kill_broker)
    yield replace(bus, name="nats_wiped", how=bus_breaking.wipe_broker, quick=3 if store == SQLITE else 0)
    yield replace(bus, name="nats_down", how=bus_breaking.take_broker_away, told="15")
    yield replace(bus, name="nats_long_down", how=bus_breaking.take_broker_away, told="120", times=1)


def _with_bad_disk() -> Iterator[Cell]:
    disk = Cell("disk_full", SQLITE, store_breaking.fill_disk, times=12, quick=2, needs=("mount",))
    yield replace(disk, shows=("refused_by_store",))
    sync = replace(disk, needs=("strace",), quick=0)
    yield replace(sync, name="sync_killed", how=store_breaking.kill_at_sync, times=32, shows=("takeovers",))
    yield replace(sync, name="sync_fails", how=store_breaking.fail_syncs, times=16, shows=("refused_by_store",))


def _with_bad_postgres() -> Iterator[Cell]:
    restarted = Cell("restarted", POSTGRES, store_breaking.restart_postgres, times=20, quick=2)
    yield replace(restarted, shows=("refused_by_store",))
    behind = replace(restarted, proxied=True, shows=())
    yield replace(behind, name="commit_answer_cut", how=store_breaking.cut_commit_answers, times=60, quick=4)
    yield replace(behind, name="cut_off", how=store_breaking.cut_postgres_off, times=20, quick=0)


def _replicas() -> Iterator[Cell]:
    together = Cell("replicas_killed", POSTGRES, breaking.kill_at_any_time, times=60, quick=3, nodes=3, broker=True)
    yield together
    zombie = replace(together, how=breaking.freeze, times=100)
    yield replace(zombie, name="replicas_zombie", shows=("takeovers", "fence_refusals"))
    yield replace(together, name="replicas_drained", how=breaking.kill_in_drain, times=24, quick=0)
