"""This process as one of several on one database: what it tells the others, and what it hears of them.

Everything here is about being quick. What is right is decided in the database: by leases, fences and the lane; whatever
is not told here is found there by a sweep.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from heddle_bus.port import Bus
from heddle_core.background import in_background
from heddle_core.ids import WorkerId
from heddle_runtime.replicas.doorbells import WorkerDoorbells
from heddle_runtime.replicas.facts import Facts, FactSettings
from heddle_runtime.replicas.interest import Interest
from heddle_runtime.replicas.ports import DecodeWords, EncodeWords, ReplicaStore, Ring, Work
from heddle_runtime.replicas.telling import Telling
from heddle_runtime.replicas.words import Words
from heddle_runtime.threads.follow import Followers
from heddle_runtime.threads.log import ThreadLog


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
        self._parts = {"listening": facts.keep_listening, "sweeping": facts.sweep}
        self._doorbells: WorkerDoorbells | None = None
        if bus is not None and words is not None:
            log.add_listener(words.committed)
            doorbells = self._doorbells = WorkerDoorbells(bus, worker_id, store, work)
            log.add_witness(doorbells.written)
            telling = Telling(bus, worker_id, followers, work, encode)
            self._parts |= {
                "ringing": doorbells.ring_owners,
                "hearing rings": doorbells.answer_own,
                "hearing of work": doorbells.answer_all,
                "telling words": telling.answer,
                "getting words": words.get,
            }

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[None]:
        """Tell and hear until the block is left; then have the others take what this worker has handed over."""
        async with in_background(self._parts):
            try:
                yield
            finally:
                if self._doorbells is not None:
                    await self._doorbells.ring_all()
