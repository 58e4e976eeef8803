"""What is to be published next: events that were just committed here, and names of threads to be read from the log.

Memory is bounded. Beyond the bounds only the knowledge remains that something was left out; then, as at the start,
the backlog is asked for.
"""

from collections import OrderedDict
from collections.abc import Iterable, Sequence

from heddle_core.values import value
from heddle_runtime.relay.ports import EncodeEvent, Facts
from heddle_runtime.threads.events import Event
from heddle_runtime.threads.log import Committed, ThreadKey


@value
class OutboxLimits:
    """What an outbox holds."""

    events: int = 8_192
    bytes: int = 32 * 1024 * 1024
    """Committed events that wait in memory; those beyond are read from the log."""
    threads: int = 50_000
    """Threads that are known to have something in the log."""
    positions: int = 50_000
    """Threads whose end is remembered, so that their next event need not be read from the log."""


class Outbox:
    """Threads that have something to publish, in the order in which they came. Knows no wire and no database.

    While it is closed it takes nothing: whoever opens it asks for the backlog afterwards.
    """

    def __init__(self, encode: EncodeEvent, limits: OutboxLimits | None = None) -> None:
        self._encode = encode
        self._limits = limits or OutboxLimits()
        self._open = False
        self._ready: dict[ThreadKey, list[Event]] = {}
        self._held = 0
        self._held_bytes = 0
        self._behind: dict[ThreadKey, None] = {}
        self._ends: OrderedDict[ThreadKey, int] = OrderedDict()
        self._left_out = False

    def open(self) -> None:
        """Take what is committed from now on. Nothing is known about what was before."""
        self.close()
        self._open = True

    def close(self) -> None:
        """Forget everything, and take nothing until it is opened."""
        self._open = False
        self._ready.clear()
        self._behind.clear()
        self._ends.clear()
        self._held = self._held_bytes = 0
        self._left_out = False

    def add(self, committed: Committed) -> None:
        """Take events that were just committed."""
        key = (committed.tenant, committed.thread_id)
        if not self._open or key in self._behind:
            return
        events = committed.events
        waiting = self._ready.get(key)
        end = waiting[-1].sequence if waiting else self._ends.get(key, 0)
        full = self._held + len(events) > self._limits.events or self._held_bytes > self._limits.bytes
        if full or events[0].sequence != end + 1:
            self.add_behind(key)
            return
        if waiting:
            waiting.extend(events)
        else:
            self._ready[key] = list(events)
        self._held += len(events)
        self._held_bytes += _size(events)

    def add_behind(self, key: ThreadKey) -> None:
        """Have a thread read from the log."""
        if not self._open:
            return
        self.drop(key)
        if len(self._behind) < self._limits.threads:
            self._behind[key] = None
        else:
            self._left_out = True

    def drop(self, key: ThreadKey) -> None:
        """Forget what is known of a thread."""
        self._let_go(self._ready.pop(key, ()))
        self._ends.pop(key, None)
        self._behind.pop(key, None)

    def reaches(self, key: ThreadKey, sequence: int) -> bool:
        """Whether the thread's events up to a sequence were taken, so that they need not be read from the log."""
        waiting = self._ready.get(key)
        return (waiting[-1].sequence if waiting else self._ends.get(key, 0)) >= sequence

    @property
    def empty(self) -> bool:
        """Whether there is nothing to publish and nothing to read."""
        return not self._ready and not self._behind

    @property
    def behind(self) -> bool:
        """Whether there are threads to be read from the log."""
        return bool(self._behind)

    def took_too_much(self) -> bool:
        """Whether threads were left out since the last call: the backlog has them."""
        left_out, self._left_out = self._left_out, False
        return left_out

    def take_ready(self, most_threads: int, most_events: int, most_bytes: int) -> list[Facts]:
        """The next events that are in memory, oldest thread first, at most so many of each thread."""
        taken: list[Facts] = []
        for key in list(self._ready)[:most_threads]:
            if most_bytes <= 0:
                break
            events = self._ready.pop(key)
            now = events[:most_events]
            self._let_go(now)
            if len(events) > len(now):
                self._ready[key] = events[len(now) :]  # at the end of the line
            self.note_end(key, now[-1].sequence)
            most_bytes -= _size(now)
            taken.append(Facts(key, tuple([self._encode(key[1], event) for event in now])))
        return taken

    def take_behind(self, most: int) -> list[ThreadKey]:
        """The next threads to be read; what is committed to them meanwhile makes them behind again."""
        keys = list(self._behind)[:most]
        for key in keys:
            del self._behind[key]
        return keys

    def note_read(self, read: Facts) -> None:
        """Take note of what was read for a thread: its end is known unless more was committed meanwhile."""
        if read.key in self._behind:
            return
        if read.more:
            self.add_behind(read.key)
            return
        last = read.facts[-1].sequence
        waiting = self._ready.pop(read.key, None)
        self.note_end(read.key, last)
        if waiting is not None:  # the first event of a thread that somebody rang for before it had one
            self._let_go(waiting)
            if waiting[-1].sequence > last:
                self.add_behind(read.key)

    def note_end(self, key: ThreadKey, sequence: int) -> None:
        """Remember up to where a thread's events were handed out."""
        self._ends[key] = sequence
        self._ends.move_to_end(key)
        if len(self._ends) > self._limits.positions:
            self._ends.popitem(last=False)

    def _let_go(self, events: Sequence[Event]) -> None:
        self._held -= len(events)
        self._held_bytes -= _size(events)


def _size(events: Iterable[Event]) -> int:
    return sum([len(event.raw) for event in events])
