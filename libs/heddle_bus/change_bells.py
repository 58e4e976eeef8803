"""Replicas of a service tell each other what they have changed, for those who watch it at another replica.

These are hints that may be lost: whoever watches looks by himself from time to time, and reads the store in any case.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from heddle_bus import subjects
from heddle_bus.port import Bus, Gap, Subscription
from heddle_core.background import in_background
from heddle_core.changes import Changes
from heddle_core.faults import HeddleError
from heddle_core.log_lines import LogLines

_WHAT = "changed"
_MOST_WAITING = 10_000
"""Changes that wait to be told; those beyond are found by whoever watches them."""
_MOST_IN_MESSAGE = 500
"""Keys of at most 130 bytes: a message stays far below every limit."""

_log = LogLines(__name__)

_Key = tuple[str, str]
"""Tenant and id."""


class ChangeBells:
    """Rings the other replicas of a service, and hears their rings."""

    def __init__(self, bus: Bus, changes: Changes, service: str, replica: str) -> None:
        """`service` names all replicas together, `replica` this one among them."""
        self._bus = bus
        self._changes = changes
        self._subject = subjects.control(_WHAT, service)
        self._replica = replica
        self._waiting: dict[_Key, None] = {}
        self._bell = asyncio.Event()
        changes.listen(self._told)

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[None]:
        """Tell and hear until the block is left, whenever NATS is there."""
        async with await self._bus.subscribe(self._subject) as heard:
            work = {"telling of changes": self._tell, "hearing of changes": lambda: self._hear(heard)}
            async with in_background(work):
                yield

    def _told(self, tenant: str, ids: tuple[str, ...]) -> None:
        for each in filter(None, ids):
            if len(self._waiting) < _MOST_WAITING:
                self._waiting[tenant, each] = None
        self._bell.set()

    async def _tell(self) -> None:
        while True:
            await self._bell.wait()
            self._bell.clear()  # before reading, or a ring in between is lost
            keys, self._waiting = list(self._waiting), {}
            try:
                for start in range(0, len(keys), _MOST_IN_MESSAGE):
                    await self._bus.send(self._subject, self._lines(keys[start : start + _MOST_IN_MESSAGE]))
            except HeddleError as error:
                _log.info("others find what has changed", reason=error.reason, problem=str(error))

    async def _hear(self, heard: Subscription) -> None:
        async for each in heard:
            if isinstance(each, Gap):
                self._changes.ring_all()
                continue
            sender, *lines = each.payload.decode("utf-8", "replace").splitlines() or [""]
            if sender != self._replica:
                for line in lines:
                    tenant, _, id = line.partition(" ")
                    self._changes.ring(tenant, id)

    def _lines(self, keys: list[_Key]) -> bytes:
        return "\n".join((self._replica, *(f"{tenant} {id}" for tenant, id in keys))).encode()
