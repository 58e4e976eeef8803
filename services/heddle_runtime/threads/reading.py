"""One reader's way through a thread: the log from a cursor, then what is committed and written from there on.

What other processes commit between two facts is never skipped: a reader that meets a hole reads the log, then goes on.
"""

from collections.abc import AsyncIterator
from typing import Protocol

from heddle_core.ids import MessageId, RunId, TenantId, ThreadId
from heddle_core.runtime_errors import CursorAhead, CursorTooOld
from heddle_core.values import value
from heddle_runtime.threads.events import AssistantMessageCompleted, Event, StepStarted
from heddle_runtime.threads.follow import Follower, Item
from heddle_runtime.threads.log import ThreadKey

PAGE = 250
"""Events that are read from the log at a time."""


class EventSource(Protocol):
    """Where a reader finds what was committed before it came."""

    async def read_events(
        self, tenant: TenantId, thread_id: ThreadId, after: int, limit: int, run_id: RunId = RunId("")
    ) -> tuple[Event, ...]:
        """Events after a sequence, oldest first."""
        ...

    async def log_bounds(self, tenant: TenantId, thread_id: ThreadId) -> tuple[int, int]:
        """The last sequence and the first that is kept. Raises ThreadNotFound."""
        ...


@value
class Opening:
    """What a reader is told first."""

    thread_id: ThreadId
    run_id: RunId
    head_sequence: int
    fresh: bool = False
    """Whether nothing that the reader wants lies before its cursor: there is nothing to catch up with."""


@value
class Batch:
    """Facts and words in order; `sequence` is the reader's cursor behind them."""

    items: tuple[Item, ...]
    sequence: int
    caught_up: bool


class Reading:
    """One reader's way through a thread: replay, then live. Drops nothing and repeats nothing."""

    def __init__(
        self, source: EventSource, follower: Follower, key: ThreadKey, after: int, run_id: RunId = RunId("")
    ) -> None:
        self._source = source
        self._follower = follower
        self._tenant, self._thread_id = key
        self._run_id = run_id
        self._finished: set[MessageId] = set()
        self._held: list[Item] = []
        self._behind = 0
        self.cursor = after

    async def open(self, known_head: int | None = None) -> Opening:
        """Check the cursor against the log. With `known_head` the caller vouches for it, and nothing is read.

        Raises:
            ThreadNotFound, CursorAhead, CursorTooOld.
        """
        if known_head is not None:
            return Opening(self._thread_id, self._run_id, known_head, fresh=True)
        last, first = await self._source.log_bounds(self._tenant, self._thread_id)
        if self.cursor > last:
            raise CursorAhead(self.cursor, last)
        if self.cursor + 1 < first:
            raise CursorTooOld(self.cursor, first)
        return Opening(self._thread_id, self._run_id, last)

    async def replay(self, head: int) -> AsyncIterator[Batch]:
        """What lies between the cursor and `head`, page by page."""
        while self.cursor < head:
            page = await self._page()
            if not page:
                self.cursor = head
                return
            self.cursor = page[-1].sequence
            self._note(page)
            yield Batch(page, self.cursor, caught_up=self.cursor >= head)

    def take(self) -> Batch:
        """What has come since, without what the replay has shown already; up to a hole, if there is one.

        A batch that is not caught up ends before a hole: go on with `read_on` until one is.

        Raises:
            SlowReader: the reader fell too far behind.
        """
        return self._sifted(self._follower.take(self.cursor))

    async def read_on(self) -> Batch:
        """A page of what other processes have committed; at the hole's end, what waited behind it.

        Raises:
            ThreadNotFound, CursorTooOld: the log does not have it any more.
        """
        if self.cursor < self._behind:
            page = await self._page()
            if not page:
                # Read again behind the log's end: of what is committed meanwhile, nothing may count as passed over.
                last, _ = await self._source.log_bounds(self._tenant, self._thread_id)
                page = await self._page()
                if not page:
                    self._skip(last)
            if page:
                self.cursor = page[-1].sequence
                self._note(page)
                return Batch(page, self.cursor, caught_up=False)
        held, self._held = self._held, []
        return self._sifted(held)

    async def _page(self) -> tuple[Event, ...]:
        return await self._source.read_events(self._tenant, self._thread_id, self.cursor, PAGE, self._run_id)

    def _skip(self, last: int) -> None:
        """Nothing up to the hole's end is of the run; or the log ends before, at `last`: who told of it was wrong."""
        self.cursor = max(self.cursor, min(self._behind, last))
        if self._behind > last:
            if self._follower.head <= self._behind:  # or it is known from somebody who came meanwhile
                self._follower.head = self.cursor
            self._held = [item for item in self._held if isinstance(item, Event) or item.after_sequence <= last]

    def _sifted(self, items: list[Item]) -> Batch:
        kept: list[Item] = []
        for place, item in enumerate(items):
            if isinstance(item, Event):
                if item.sequence <= self.cursor:
                    continue
                if item.sequence > self.cursor + 1:
                    return self._hole(kept, items[place:], item.sequence - 1)
                self.cursor = item.sequence
                self._note((item,))
                if self._run_id and item.run_id != self._run_id:
                    continue
            elif item.after_sequence > self.cursor:
                return self._hole(kept, items[place:], item.after_sequence)
            elif item.message_id in self._finished or (self._run_id and item.run_id != self._run_id):
                continue
            kept.append(item)
        if self._follower.head > self.cursor:
            return self._hole(kept, [], self._follower.head)
        return Batch(tuple(kept), self.cursor, caught_up=True)

    def _hole(self, before: list[Item], behind: list[Item], up_to: int) -> Batch:
        """Facts up to `up_to` were committed elsewhere: nothing behind them may be shown before them."""
        self._held, self._behind = behind, up_to
        return Batch(tuple(before), self.cursor, caught_up=False)

    def _note(self, events: tuple[Event, ...]) -> None:
        """Remember which messages the log holds whole: words of them that still wait are late."""
        for event in events:
            if isinstance(event.payload, AssistantMessageCompleted):
                self._finished.add(event.payload.message_id)
            elif isinstance(event.payload, StepStarted) and event.payload.discards_message_id:
                self._finished.add(event.payload.discards_message_id)
