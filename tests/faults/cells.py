"""The table of cells: what is broken, on which store, how often, and what must be there for it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tests.faults import breaking, bus_breaking, programs, reader_breaking, spawn_breaking, store_breaking, tracing
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
    archived: bool = False
    """Whether rows that the runtime removes are kept aside by the database, so that the checker sees the whole log."""
    clock_is_set: bool = False
    """Whether the runtime's clock of the day can be set."""

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
_FORKING = leaning(actions={"fork": 25, "redact": 3})
_DELETING = leaning(actions={"delete": 8, "fork": 6})
_TRIMMED = leaning(actions={"redact": 3, "fork": 5, "watch": 20, "snapshot": 12}, turns_per_thread=40)
_LATE = leaning({"ask/say": 16, "asked/say": 12, "later/say": 8, "look/say": 8}, {"answer": 2, "answer_again": 6})
_TRIMMING = (("RETENTION__KEEP_FOR", "PT2S"), ("RETENTION__EVERY", "PT1S"))
"""Old is what is older than two seconds, and every second it is looked for."""

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


EVERY_POINT = (*(name for name, _ in POINTS), "snapshot", "migration", "drain", "published_unmarked")
"""Kill points of the runtime; `spawn_breaking.POINTS` are those of the spawn service."""


def cells() -> Iterator[Cell]:
    """All of them, in the order of the table."""
    yield from _on(SQLITE, nodes=1)
    yield from _with_broker(SQLITE, nodes=1)
    yield from _with_bad_disk()
    yield from _with_bad_clock()
    for cell in (*_on(POSTGRES, nodes=1), *_with_broker(POSTGRES, nodes=1), *_with_bad_postgres(), *_replicas()):
        yield replace(cell, needs=(*cell.needs, "postgres"))
    sqlite, postgres = _quick()
    yield sqlite
    yield replace(postgres, needs=("postgres",))


def _on(store: str, nodes: int) -> Iterator[Cell]:
    for point, temper in POINTS:
        yield Cell(point, store, breaking.kill_at, point, times=24, nodes=nodes, temper=temper)
    snapshot = Cell("snapshot", store, breaking.kill_at, "snapshot", times=12, nodes=nodes, temper=_LONG)
    yield replace(snapshot, shows=("snapshots",))
    yield Cell("any_time", store, breaking.kill_at_any_time, times=60, nodes=nodes)
    yield Cell("drain", store, breaking.kill_in_drain, times=24, nodes=nodes)
    yield Cell("zombie", store, breaking.freeze, times=50, nodes=nodes, temper=_SLOW)
    yield Cell("migration", store, breaking.kill_in_migration, times=12, shows=(), bustles=False)
    synced = Cell("synced", store, tracing.trace_acknowledgements, times=30, quick=3, bustles=False)
    yield replace(synced, needs=("strace",), shows=())
    yield Cell("redactions", store, breaking.kill_at_any_time, times=20, nodes=nodes, temper=_REDACTING)
    brief = (("TOOLS__INPUT_EXPIRY", "PT0.8S"),)
    timeouts = Cell("timeouts", store, breaking.kill_at_any_time, times=30, nodes=nodes, temper=_LATE)
    yield replace(timeouts, settings=brief, shows=("takeovers", "timeouts"))
    forks = Cell("forks", store, breaking.kill_at_any_time, times=24, nodes=nodes, temper=_FORKING)
    yield replace(forks, shows=("takeovers", "forks"))
    slow = Cell("slow_readers", store, reader_breaking.stall_readers, times=6, shows=("cut_readers",))
    yield replace(slow, settings=reader_breaking.SETTINGS, bustles=False)
    yield Cell("joining", store, breaking.leave_alone, times=10, nodes=nodes, shows=(), temper=_JOINING)
    yield Cell("calm", store, breaking.leave_alone, times=10, nodes=nodes, shows=())


def _with_broker(store: str, nodes: int) -> Iterator[Cell]:
    bus = Cell("", store, breaking.kill_at, nodes=nodes, shows=("published",), broker=True)
    point = "published_unmarked"
    yield replace(bus, name=point, told=point, times=32, shows=("published", "takeovers"))
    yield replace(bus, name="nats_killed", how=bus_breaking.kill_broker)
    yield replace(bus, name="nats_wiped", how=bus_breaking.wipe_broker)
    yield replace(bus, name="nats_down", how=bus_breaking.take_broker_away, told="15")
    yield replace(bus, name="nats_long_down", how=bus_breaking.take_broker_away, told="120", times=1)
    yield replace(bus, name="nats_old_copy", how=bus_breaking.put_old_copy_back, times=12)
    trims = replace(bus, how=breaking.kill_at_any_time, times=30, settings=_TRIMMING, archived=True)
    yield replace(trims, name="retention", temper=_TRIMMED, shows=("trimmed", "takeovers"))
    yield replace(trims, name="deletions", temper=_DELETING, shows=("deleted", "takeovers"))
    yield replace(bus, name="old_backup", how=store_breaking.restore_old_backup, times=4, bustles=False)
    yield from _with_spawn(bus)


def _with_spawn(bus: Cell) -> Iterator[Cell]:
    """A thousand children, with the spawn service in a process of its own and within `heddle up`."""
    shows = ("children", "parents_told", "too_deep", "too_wide", "too_dear", "cancels", "takeovers")
    spawn = replace(bus, name="spawn", how=spawn_breaking.break_delegation, told="20", bustles=False)
    spawn = replace(spawn, times=spawn_breaking.TIMES)
    alone = (("PROGRAM", programs.SERVE_RUNTIME),)
    yield replace(spawn, quick=5 if bus.store == SQLITE else 0, shows=(*shows, "spawn_killed"), settings=alone)
    composed = (("PROGRAM", programs.UP), *spawn_breaking.SWEEP)
    told = f"{spawn.told} {spawn_breaking.ONE_PROCESS}"
    yield replace(spawn, name="spawn_composed", told=told, shows=shows, settings=composed)


def _with_bad_disk() -> Iterator[Cell]:
    disk = Cell("disk_full", SQLITE, store_breaking.fill_disk, times=12, quick=2, needs=("mount",))
    yield replace(disk, shows=("refused_by_store",))
    sync = replace(disk, needs=("strace",), quick=0)
    lost = ("refused_by_store", "tried_in_outage")
    yield replace(sync, name="sync_killed", how=store_breaking.kill_at_sync, times=32, shows=("takeovers",))
    yield replace(sync, name="sync_fails", how=store_breaking.fail_syncs, times=16, shows=lost)


def _with_bad_clock() -> Iterator[Cell]:
    """Where the database is a file, its clock is the process's. PostgreSQL's clock cannot be set for one server."""
    jumps = Cell("clock_jumps", SQLITE, breaking.set_clock, times=24, shows=("clock_jumps",), clock_is_set=True)
    yield replace(jumps, temper=_SLOW)


def _quick() -> tuple[Cell, Cell]:
    """For continuous integration: much in one world, since a world takes longer to build than to break."""
    points = (breaking.kill_at, ",".join(point for point, _ in POINTS), len(POINTS))
    shows = ("takeovers", "unknowns", "refused_by_store")
    parts = (points, (breaking.kill_in_drain, "", 2), (breaking.freeze, "", 2), (bus_breaking.wipe_broker, "", 3))
    quick = Cell("together", SQLITE, breaking.in_turn(*parts), times=0, quick=1, temper=_MIXED)
    sqlite = replace(quick, broker=True, shows=("takeovers", "unknowns", "fence_refusals", "published"))
    parts = (points, (store_breaking.cut_commit_answers, "", 4), (store_breaking.restart_postgres, "", 2))
    return sqlite, replace(quick, store=POSTGRES, how=breaking.in_turn(*parts), proxied=True, shows=shows)


def _with_bad_postgres() -> Iterator[Cell]:
    restarted = Cell("restarted", POSTGRES, store_breaking.restart_postgres, times=20)
    restarted = replace(restarted, shows=("refused_by_store", "tried_in_outage"))
    yield restarted
    behind = replace(restarted, proxied=True, shows=())
    yield replace(behind, name="commit_answer_cut", how=store_breaking.cut_commit_answers, times=60)
    yield replace(behind, name="cut_off", how=store_breaking.cut_postgres_off, shows=("tried_in_outage",))
    disk = Cell("disk_full", POSTGRES, store_breaking.fill_disk, times=12, needs=("mount",))
    yield replace(disk, shows=("refused_by_store",))


def _replicas() -> Iterator[Cell]:
    killed = Cell("replicas_killed", POSTGRES, breaking.kill_at_any_time, times=60, nodes=3, broker=True)
    yield killed
    frozen = replace(killed, shows=("takeovers", "fence_refusals"))
    yield replace(frozen, name="replicas_zombie", how=breaking.freeze, times=100)
    yield replace(killed, name="replicas_drained", how=breaking.kill_in_drain, times=24)
    both = breaking.in_turn((breaking.kill_at_any_time, "", 3), (breaking.freeze, "", 2))
    yield replace(frozen, name="replicas_together", how=both, times=0, quick=1)
