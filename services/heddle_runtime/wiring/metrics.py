"""What the runtime tells when it is scraped: beside the calls, which the server counts itself."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from heddle_core.faults import HeddleError
from heddle_database.port import Database, Statistics
from heddle_grpc.measures import Count, Distribution, Labels, Level, Measure, Spread
from heddle_runtime.store.measures import MOST_BEHIND, open_runs, unpublished
from heddle_runtime.store.relay_rows import relays_by_stream
from heddle_runtime.threads.log import Committed
from heddle_runtime.threads.state import ThreadFold

_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])")


@dataclass
class RuntimeMeasures:
    """One runtime's counts and levels."""

    database: Database
    working: Callable[[], int]
    """Reads how many runs this worker has in hand."""
    publishes: bool
    """Whether there is a bus: without one nothing is behind, since nothing is to be published."""
    _committed: Counter[type] = field(default_factory=Counter[type])

    def committed(self, committed: Committed, _fold: ThreadFold | None) -> None:
        """Count events. A listener of the ThreadLog."""
        for event in committed.events:
            self._committed[type(event.payload)] += 1

    async def read(self) -> list[Measure]:
        """All of it; without what only the database knows while that is in trouble."""
        kinds = {(_name(kind),): count for kind, count in self._committed.items()}
        measures: list[Measure] = [
            Count("heddle_events_committed", "Events that this process has committed.", kinds, ("kind",)),
            Level("heddle_runs_in_hand", "Runs that this worker works on.", {(): self.working()}),
            *_writes(self.database.statistics),
        ]
        try:
            return [*measures, *await self._stored()]
        except HeddleError:
            return measures

    async def _stored(self) -> list[Measure]:
        states = {(state.name.lower(),): count for state, count in (await self.database.read(open_runs)).items()}
        stored: list[Measure] = [Level("heddle_runs", "Runs that have not ended, on all workers.", states, ("state",))]
        if self.publishes:
            threads, events = await self.database.read(unpublished)
            told = f"Threads with unpublished events; at most {MOST_BEHIND} are looked at."
            stored.append(Level("heddle_relay_threads_behind", told, {(): threads}))
            stored.append(Level("heddle_relay_events_behind", "Unpublished events of these threads.", {(): events}))
            streams = len(await self.database.read(relays_by_stream))
            if streams:  # the relay of a process that is alone has nobody to tell
                told = "Event streams that the runtimes on this database have in front of them: one, if all is well."
                stored.append(Level("heddle_relay_streams", told, {(): streams}))
        return stored


def _writes(done: Statistics) -> list[Measure]:
    nothing: Labels = ()
    bounds = [2**power for power in range(len(done.batch_sizes))]
    sizes = Distribution(bounds, [*done.batch_sizes, 0], total=done.operations)
    return [
        Count("heddle_database_commits", "Transactions that were committed.", {nothing: done.commits}),
        Count("heddle_database_replays", "Transactions carried out again in parts.", {nothing: done.replays}),
        Level("heddle_database_waiting", "Writes accepted and not settled yet.", {nothing: done.waiting}),
        Spread("heddle_database_batch", "Writes that shared one commit.", {nothing: sizes}),
    ]


def _name(kind: type) -> str:
    return _WORD.sub("_", kind.__name__).lower()
