"""This process as one of several on one database: what it tells the others, and what it hears of them.

Everything here is about being quick. What is right is decided in the database: by leases, fences and the lane; whatever
is not told here is found there by a sweep.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from heddle_bus.port import Bus
from heddle_core.faults import HeddleError
from heddle_core.ids import WorkerId
from heddle_core.log_lines import LogLines
from heddle_runtime.replicas.doorbells import WorkerDoorbells
from heddle_runtime.replicas.facts import Facts, FactSettings
from heddle_runtime.replicas.interest import Interest
from heddle_runtime.replicas.ports import DecodeWords, EncodeWords, ReplicaStore, Ring, Work
from heddle_runtime.replicas.telling import Telling
from heddle_runtime.replicas.words import Words
from heddle_runtime.threads.follow import Followers
from heddle_runtime.threads.log import ThreadLog

_log = LogLines(__name__)

_PAUSE = timedelta(seconds=1)
"""Before a part is begun again that has failed."""

Part = tuple[str, Callable[[], Coroutine[Any, Any, None]]]
"""What it does, and how; it does not end by itself."""


class Replica:
    """What one of several processes does for the others, and they for it."""

    def __init__(
        self,
        worker_id: WorkerId,
        interest: Interest,
        store: ReplicaStore,
        log: ThreadLog,
        followers: Followers,
        ring: Ring,
        work: Work,
        bus: Bus | None,
        encode: EncodeWords,
        decode: DecodeWords,
        settings: FactSettings | None = None,
        *,
        apart: Callable[[], bool] = lambda: False,
    ) -> None:
        """Without a `bus`, what others do is found by sweeps alone, and their words are not seen here; the same with
        others who are on another one, as `apart` says.
        """
        words = Words(bus, worker_id, store, log, followers, decode) if bus is not None else None
        facts = Facts(interest, store, log, followers, ring, work, bus, words, settings, apart=apart)
        log.add_listener(facts.committed)
        self._parts: list[Part] = [("listening", facts.keep_listening), ("sweeping", facts.sweep)]
        self._doorbells: WorkerDoorbells | None = None
        if bus is not None and words is not None:
            log.add_listener(words.committed)
            doorbells = self._doorbells = WorkerDoorbells(bus, worker_id, store, work)
            log.add_witness(doorbells.written)
            telling = Telling(bus, worker_id, followers, work, encode)
            self._parts += [
                ("ringing", doorbells.ring_owners),
                ("hearing rings", doorbells.answer_own),
                ("hearing of work", doorbells.answer_all),
                ("telling words", telling.answer),
                ("getting words", words.get),
            ]

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[None]:
        """Tell and hear until the block is left; then have the others take what this worker has handed over."""
        own = [asyncio.create_task(_kept(*part)) for part in self._parts]
        try:
            yield
        finally:
            if self._doorbells is not None:
                await self._doorbells.ring_all()
            for task in own:
                task.cancel()
            await asyncio.wait(own)


async def _kept(what: str, part: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Do a part for ever: a fault in one must not end the others, nor the runs of this process."""
    while True:
        try:
            await part()
        except HeddleError as error:
            _log.info(f"{what} begins again", reason=error.reason, problem=str(error))
        except Exception:
            _log.exception(f"{what} begins again after an unexpected fault")
        await asyncio.sleep(_PAUSE.total_seconds())
