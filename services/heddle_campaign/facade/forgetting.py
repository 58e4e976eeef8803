"""What a campaign forgets by itself: what has faded, and what was learned from a thread that is gone.

A deleted thread is told by a doorbell. A daily round finds those that no doorbell told: it asks the runtime whether the
threads that memories cite, and those that agents sent messages from, are still there. It asks for so many at most, and
the next goes on where it stopped. Only a tombstone makes them forgotten: a runtime that was restored from an old copy
does not know them either.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

from heddle_campaign.facade.ports.campaigns import CampaignStore
from heddle_campaign.facade.ports.memories import MemoryStore
from heddle_campaign.facade.ports.runs import RunsOf
from heddle_campaign.facade.side_by_side import side_by_side
from heddle_campaign.rules.learned import Learned
from heddle_campaign.rules.memories import faded
from heddle_core.background import in_background
from heddle_core.faults import HeddleError, StatusCode
from heddle_core.ids import TenantId
from heddle_core.log_lines import LogLines
from heddle_core.requests import Creator
from heddle_core.runtime_errors import CursorAhead, CursorTooOld, ThreadNotFound

T = TypeVar("T")

DAY = timedelta(days=1)
MOST_ASKED = 10_000
"""Threads that are asked for in one round."""

_PAGE = 500
_SIDE_BY_SIDE = 8
_AGAIN = timedelta(minutes=1)
"""After a round that failed, and least time between two rounds."""

_log = LogLines(__name__)

Place = tuple[str, str]
_FIRST: Place = ("", "")


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What a round did."""

    faded: int = 0
    """Memories that were worth nothing any more."""
    asked: int = 0
    """Threads that the runtime was asked for."""
    of_threads: int = 0
    """Memories and messages of threads that were deleted."""
    unknown: int = 0
    """Threads that the runtime neither has nor has deleted, as after a restore, or does not tell of: all is kept."""


@dataclass(frozen=True, slots=True)
class _Thread:
    """A thread to ask for, in the name of whoever made the campaign."""

    tenant: TenantId
    campaign_id: str
    thread_id: str
    run_id: str = ""
    """Empty: any run of it."""
    after: int = 0

    @property
    def key(self) -> Place:
        return self.tenant, self.thread_id


@dataclass(slots=True)
class _Round:
    """How far a round has come."""

    asked: set[Place] = field(default_factory=set[Place])
    creators: dict[Place, Creator | None] = field(default_factory=dict["Place", "Creator | None"])
    faded: int = 0
    of_threads: int = 0
    unknown: int = 0


class Forgetting:
    """Erases memories for good: what is erased is never learned again."""

    def __init__(
        self,
        store: CampaignStore,
        memories: MemoryStore,
        runs_of: RunsOf,
        *,
        every: timedelta = DAY,
        most_asked: int = MOST_ASKED,
    ) -> None:
        self._store = store
        self._memories = memories
        self._runs_of = runs_of
        self._every = every
        self._most_asked = most_asked
        # Places in the orders of the two, at which the last round stopped.
        self._cited_up_to = self._speaking_up_to = _FIRST
        self._wanted = asyncio.Event()

    async def forget_thread(self, tenant: str, thread_id: str) -> int:
        """Erase what was learned from a thread that was deleted, and what agents said in it; how much that was."""
        erased = await self._memories.forget_thread(tenant, thread_id)
        if erased:
            _log.info("forgotten with its thread", tenant=tenant, thread=thread_id, erased=erased)
        return erased

    def look_now(self) -> None:
        """Have a round soon: a thread may have been deleted while nobody could hear."""
        self._wanted.set()

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[None]:
        """Go round at once, and then every day, until the block is left."""
        async with in_background({"forgetting": self._rounds}, pause=min(_AGAIN, self._every)):
            yield

    async def round(self) -> Forgotten:
        """Look at every memory once. Raises StoreUnavailable; that the runtime is away only ends the asking."""
        state = _Round()
        if await self._look_at_memories(state) and await self._look_at_speakers(state):
            self._cited_up_to = self._speaking_up_to = _FIRST
        return Forgotten(state.faded, len(state.asked), state.of_threads, state.unknown)

    async def _look_at_memories(self, state: _Round) -> bool:
        """Whether all threads that they cite were asked for."""
        place, asking_from, may_ask = _FIRST, self._cited_up_to, True
        while page := await self._memories.every(place, _PAGE):
            place = _place(page[-1])
            gone = await self._fade(state, page)
            left = [each for each in page if _place(each) not in gone and _place(each) > asking_from]
            for batch in _batches(left) if may_ask else ():
                if not (may_ask := await self._ask_for(state, [_cited(each) for each in batch if each.citation])):
                    break
                self._cited_up_to = _place(batch[-1])
        return may_ask

    async def _look_at_speakers(self, state: _Round) -> bool:
        """Whether all threads that messages were sent from were asked for."""
        while page := await self._memories.speakers(self._speaking_up_to, _PAGE):
            for batch in _batches(page):
                threads = [_Thread(each.tenant, each.campaign_id, each.thread_id) for each in batch]
                if not await self._ask_for(state, threads):
                    return False
                self._speaking_up_to = batch[-1].tenant, batch[-1].thread_id
        return True

    async def _rounds(self) -> None:
        while True:
            self._wanted.clear()
            pause = self._every
            try:
                done = await self.round()
                if done.unknown:
                    _log.warning("memories cite threads that the runtime does not tell of", threads=done.unknown)
                if done.faded or done.of_threads:
                    _log.info("forgotten in a round", faded=done.faded, of_threads=done.of_threads)
            except HeddleError as error:
                pause = min(_AGAIN, self._every)
                _log.warning("memories could not be looked at", reason=error.reason, problem=str(error))
            await asyncio.sleep(min(_AGAIN, pause).total_seconds())
            try:
                async with asyncio.timeout((pause - min(_AGAIN, pause)).total_seconds()):
                    await self._wanted.wait()
            except TimeoutError:
                pass

    async def _fade(self, state: _Round, page: Sequence[Learned]) -> set[Place]:
        """Erase what has faded; the places of what is gone."""
        now = await self._store.now()
        old = [each for each in page if faded((each.memory,), now)]
        gone = await self._memories.fade(old) if old else ()
        state.faded += len(gone)
        return {_place(each) for each in gone}

    async def _ask_for(self, state: _Round, threads: Sequence[_Thread]) -> bool:
        """Whether these few were asked for; else the next round begins with them."""
        unasked = {each.key: each for each in threads if each.key not in state.asked}
        if len(state.asked) + len(unasked) > self._most_asked:
            return False
        state.asked |= unasked.keys()
        try:
            await side_by_side((self._ask(state, each) for each in unasked.values()), _SIDE_BY_SIDE)
        except HeddleError as problem:
            _log.warning("the runtime cannot be asked for threads", reason=problem.reason, problem=str(problem))
            return False
        return True

    async def _ask(self, state: _Round, thread: _Thread) -> None:
        creator = await self._creator(state, thread)
        if creator is None:
            return
        try:
            await self._runs_of(creator).facts(thread.thread_id, run_id=thread.run_id, after=thread.after, most=1)
        except (CursorTooOld, CursorAhead):
            return
        except ThreadNotFound as missing:
            if missing.deleted:
                state.of_threads += await self.forget_thread(thread.tenant, thread.thread_id)
            else:
                state.unknown += 1
        except HeddleError as error:
            if error.status is not StatusCode.PERMISSION_DENIED:
                raise
            # One creator who may not look any more must not keep the round from the threads of the others.
            state.unknown += 1

    async def _creator(self, state: _Round, thread: _Thread) -> Creator | None:
        """In whose name to ask; None where the campaign is gone, with all that it knew."""
        key = (thread.tenant, thread.campaign_id)
        if key not in state.creators:
            campaign = await self._store.campaign(*key)
            state.creators[key] = campaign.creator if campaign is not None else None
        return state.creators[key]


def _batches(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[place : place + _SIDE_BY_SIDE] for place in range(0, len(items), _SIDE_BY_SIDE))


def _cited(learned: Learned) -> _Thread:
    citation = learned.citation
    assert citation is not None, "only what cites a thread is asked for"
    after = max(0, citation.first_sequence - 1)
    return _Thread(learned.tenant, learned.campaign_id, citation.thread_id, citation.run_id, after)


def _place(learned: Learned) -> Place:
    return learned.tenant, learned.memory.memory_id
