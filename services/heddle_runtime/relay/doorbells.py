"""Relays tell each other that there is something to look at: hints that may be lost, with a sweep behind them."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from heddle_bus import subjects
from heddle_bus.port import Bus, Message
from heddle_core.ids import TenantId, ThreadId, WorkerId
from heddle_runtime.relay.shards import Shards
from heddle_runtime.threads.log import ThreadKey

_WHAT = "relay"
_MOST_WAITING = 10_000
"""Threads of others that wait to be told of; what comes beyond is found by the sweep of those others."""
_MOST_IN_MESSAGE = 500
"""Keys of at most 130 bytes: a message stays far below every limit."""


class ShardDoorbells:
    """Rings the owners of other shards, and hears their rings."""

    def __init__(self, bus: Bus, worker_id: WorkerId) -> None:
        self._bus = bus
        self._worker_id = worker_id
        self._waiting: dict[ThreadKey, None] = {}

    def add(self, key: ThreadKey) -> None:
        """Have the owner of a thread's shard told, at the next `ring`, that there is something to publish."""
        if len(self._waiting) < _MOST_WAITING:
            self._waiting[key] = None

    async def ring(self, shards: Shards) -> list[ThreadKey]:
        """Tell the owners; returns threads that are this worker's own by now."""
        if not self._waiting:
            return []
        waiting, self._waiting = self._waiting, {}
        own: list[ThreadKey] = []
        theirs: dict[WorkerId, list[ThreadKey]] = {}
        for key in waiting:
            owner = shards.owner_of(key)
            if shards.owns(key):
                own.append(key)
            elif owner is not None:
                theirs.setdefault(owner, []).append(key)
            else:
                self._waiting[key] = None  # nobody has it now: told to whoever takes it
        for owner, keys in theirs.items():
            for start in range(0, len(keys), _MOST_IN_MESSAGE):
                await self._send(owner, keys[start : start + _MOST_IN_MESSAGE])
        return own

    async def announce(self, shards: Shards) -> None:
        """Have everybody else look at the shards: some are free, or somebody wants his share."""
        for peer in shards.peers:
            await self._send(peer, [])

    @asynccontextmanager
    async def listen(self) -> "AsyncGenerator[AsyncGenerator[list[ThreadKey]]]":
        """Rings of others: threads to look at; an empty list: look at the shards, and at everything."""
        async with await self._bus.subscribe(subjects.control(_WHAT, self._worker_id)) as feed:

            async def rings() -> AsyncGenerator[list[ThreadKey]]:
                async for item in feed:
                    yield _keys(item.payload) if isinstance(item, Message) else []

            heard = rings()
            try:
                yield heard
            finally:
                await heard.aclose()

    async def _send(self, peer: WorkerId, keys: list[ThreadKey]) -> None:
        lines = "\n".join(f"{tenant} {thread_id}" for tenant, thread_id in keys)
        await self._bus.send(subjects.control(_WHAT, peer), lines.encode())


def _keys(payload: bytes) -> list[ThreadKey]:
    pairs = (line.partition(" ") for line in payload.decode("utf-8", "replace").splitlines())
    return [(TenantId(tenant), ThreadId(thread_id)) for tenant, _, thread_id in pairs]
