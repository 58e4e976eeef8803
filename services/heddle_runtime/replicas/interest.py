"""Which threads are watched in this process, counted: only these are asked about."""

import asyncio
from collections import Counter

from heddle_runtime.threads.log import ThreadKey


class Interest:
    """The `Attention` of a process that shares its database; without a thread id, all threads of a tenant."""

    def __init__(self) -> None:
        self._counts: Counter[ThreadKey] = Counter()
        self._changed: set[ThreadKey] = set()
        self.changed = asyncio.Event()
        """Set when there is something to take."""

    @property
    def keys(self) -> frozenset[ThreadKey]:
        """What is watched now."""
        return frozenset(self._counts)

    def take(self) -> frozenset[ThreadKey]:
        """The threads to which watchers came, or which they left, since this was asked last."""
        taken, self._changed = frozenset(self._changed), set()
        self.changed.clear()
        return taken

    def note(self, key: ThreadKey) -> None:
        """Have a thread looked at."""
        self._changed.add(key)
        self.changed.set()

    def __contains__(self, key: ThreadKey) -> bool:
        return key in self._counts

    def came(self, key: ThreadKey) -> None:
        """One watcher more."""
        self._counts[key] += 1
        if self._counts[key] == 1:
            self.note(key)

    def left(self, key: ThreadKey) -> None:
        """One watcher less."""
        self._counts[key] -= 1
        if not self._counts[key]:
            del self._counts[key]
            self.note(key)
