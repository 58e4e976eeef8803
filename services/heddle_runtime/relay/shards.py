"""Which relay publishes which threads: every thread belongs to one of a fixed number of shards (SEMANTICS 30)."""

from collections.abc import Mapping
from zlib import crc32

from heddle_core.ids import WorkerId
from heddle_runtime.threads.log import ThreadKey

SHARDS = 64
"""Fixed for ever: a thread's shard is computed by every worker, of every version."""


def shard_of(key: ThreadKey) -> int:
    """The shard of a thread."""
    return crc32(f"{key[0]}/{key[1]}".encode()) % SHARDS


def fair_share(workers: int) -> int:
    """The most shards that one of so many workers keeps."""
    return -(-SHARDS // max(workers, 1))


class Shards:
    """The shards of this worker as it knows them; the database has the last word, at each mark."""

    def __init__(self) -> None:
        self._fences: Mapping[int, int] = {}
        self._owners: Mapping[int, WorkerId] = {}
        self._peers: frozenset[WorkerId] = frozenset()

    def take_note(self, fences: Mapping[int, int], owners: Mapping[int, WorkerId], peers: frozenset[WorkerId]) -> None:
        """Know these from now on."""
        self._fences, self._owners, self._peers = fences, owners, peers

    @property
    def held(self) -> frozenset[int]:
        """This worker's."""
        return frozenset(self._fences)

    def fence_of(self, key: ThreadKey) -> tuple[int, int] | None:
        """The shard of a thread and its fence, or None if the shard is not this worker's."""
        shard = shard_of(key)
        fence = self._fences.get(shard)
        return None if fence is None else (shard, fence)

    def owns(self, key: ThreadKey) -> bool:
        """Whether this worker publishes the thread."""
        return shard_of(key) in self._fences

    def owner_of(self, key: ThreadKey) -> WorkerId | None:
        """Who else publishes the thread, as far as is known."""
        return self._owners.get(shard_of(key))

    @property
    def peers(self) -> frozenset[WorkerId]:
        """The other relays, with shards or without."""
        return self._peers
