"""Readers of a thread: first the log from a cursor, then what is committed and written from there on.

A reader that falls behind costs a bounded amount of memory and is then cut, with its cursor (SEMANTICS 24).
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Protocol

from heddle_core.errors import CursorAhead, CursorTooOld, SlowReader
from heddle_core.ids import MessageId, RunId, TenantId, ThreadId
from heddle_runtime.threads.deltas import Delta, Writing
from heddle_runtime.threads.events import AssistantMessageCompleted, Event, StepStarted
from heddle_runtime.threads.log import Committed, ThreadKey
from heddle_runtime.threads.state import ThreadFold

MOST_EVENTS = 256
MOST_BYTES = 1024 * 1024
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


Item = Event | Delta


class Follower:
    """One reader's queue. The log puts in, one task takes out."""

    def __init__(self, followers: "Followers", key: ThreadKey) -> None:
        self._followers = followers
        self._key = key
        self._items: deque[Event | _Words] = deque()
        self._events = 0
        self._bytes = 0
        self._overrun = False
        self._holds_large = False
        self.doorbell = asyncio.Event()

    def __enter__(self) -> "Follower":
        return self

    def __exit__(self, *_: object) -> None:
        self._followers.remove(self._key, self)

    def put_event(self, event: Event) -> None:
        """Queue a fact. One is always admitted, whatever its size and wherever it stands."""
        self._admit(event, len(event.raw), 1)

    def put_delta(self, delta: Delta) -> None:
        """Queue words; those that continue the words before them travel as one."""
        last = self._items[-1] if self._items else None
        if isinstance(last, _Words) and delta.continues(last.first):
            last.texts.append(delta.text)
            self._bytes += len(delta.text)
            self._overrun = self._overrun or self._bytes > MOST_BYTES
        else:
            self._admit(_Words(delta), len(delta.text), 0)

    def take(self, cursor: int) -> list[Item]:
        """All that waits. `cursor` is the last sequence that the reader has.

        Raises:
            SlowReader: something had to be dropped because it was not taken in time.
        """
        if self._overrun:
            raise SlowReader(cursor)
        taken = [item.joined() if isinstance(item, _Words) else item for item in self._items]
        self._items.clear()
        self._events = self._bytes = 0
        self._holds_large = False
        self.doorbell.clear()
        return taken

    def _admit(self, item: "Event | _Words", size: int, events: int) -> None:
        if self._overrun:
            return
        free = size > MOST_BYTES and not self._holds_large
        charge = 0 if free else size
        if self._events + events > MOST_EVENTS or self._bytes + charge > MOST_BYTES:
            self._overrun = True
            self._items.clear()
        else:
            self._items.append(item)
            self._events += events
            self._bytes += charge
            self._holds_large = self._holds_large or free
        self.doorbell.set()


class _Words:
    """Words that wait, and those that continue them: joined when they are taken, not each time that more come."""

    __slots__ = ("first", "texts")

    def __init__(self, first: Delta) -> None:
        self.first = first
        self.texts = [first.text]

    def joined(self) -> Delta:
        """All of them as one."""
        return self.first if len(self.texts) == 1 else replace(self.first, text="".join(self.texts))


class Followers:
    """All readers of this process, by thread; and what is being written there."""

    def __init__(self) -> None:
        self._followers: dict[ThreadKey, list[Follower]] = defaultdict(list)
        self._writing: dict[ThreadKey, Writing] = {}

    def join(self, tenant: TenantId, thread_id: ThreadId, last_sequence: int = 0) -> Follower:
        """A new reader of a thread: it gets all from now on, and first the text so far of what is being written."""
        key = (tenant, thread_id)
        follower = Follower(self, key)
        if key in self._writing:
            for delta in self._writing[key].so_far(last_sequence):
                follower.put_delta(delta)
        self._followers[key].append(follower)
        return follower

    def remove(self, key: ThreadKey, follower: Follower) -> None:
        """A reader has left."""
        followers = self._followers[key]
        followers.remove(follower)
        if not followers:
            del self._followers[key]

    def committed(self, committed: Committed, _fold: ThreadFold | None) -> None:
        """Hand facts to the readers of their thread. A listener of the ThreadLog."""
        for follower in self._followers.get((committed.tenant, committed.thread_id), ()):
            for event in committed.events:
                follower.put_event(event)

    def write_begins(self, tenant: TenantId, thread_id: ThreadId, writing: Writing) -> None:
        """A model begins a message."""
        self._writing[tenant, thread_id] = writing

    def wrote(self, tenant: TenantId, thread_id: ThreadId, delta: Delta) -> None:
        """Hand words to the readers of their thread."""
        for follower in self._followers.get((tenant, thread_id), ()):
            follower.put_delta(delta)

    def write_ends(self, tenant: TenantId, thread_id: ThreadId) -> None:
        """The message is finished, discarded or abandoned: whoever joins now finds it in the log, or nowhere."""
        self._writing.pop((tenant, thread_id), None)


@dataclass(frozen=True, slots=True)
class Opening:
    """What a reader is told first."""

    thread_id: ThreadId
    run_id: RunId
    head_sequence: int
    fresh: bool = False
    """Whether nothing that the reader wants lies before its cursor: there is nothing to catch up with."""


@dataclass(frozen=True, slots=True)
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
            page = await self._source.read_events(self._tenant, self._thread_id, self.cursor, PAGE, self._run_id)
            if not page:
                self.cursor = head
                return
            self.cursor = page[-1].sequence
            self._note(page)
            yield Batch(page, self.cursor, caught_up=self.cursor >= head)

    def take(self) -> Batch:
        """What has come since, without what the replay has shown already.

        Raises:
            SlowReader: the reader fell too far behind.
        """
        kept: list[Item] = []
        for item in self._follower.take(self.cursor):
            if isinstance(item, Event):
                if item.sequence <= self.cursor:
                    continue
                self.cursor = item.sequence
                if self._run_id and item.run_id != self._run_id:
                    continue
            elif item.message_id in self._finished or (self._run_id and item.run_id != self._run_id):
                continue
            kept.append(item)
        return Batch(tuple(kept), self.cursor, caught_up=True)

    def _note(self, events: tuple[Event, ...]) -> None:
        """Remember which messages the log holds whole: words of them that still wait are late."""
        for event in events:
            if isinstance(event.payload, AssistantMessageCompleted):
                self._finished.add(event.payload.message_id)
            elif isinstance(event.payload, StepStarted) and event.payload.discards_message_id:
                self._finished.add(event.payload.discards_message_id)
