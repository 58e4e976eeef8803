"""Readers of a thread: what is committed and written from the moment on at which they came.

A reader that falls behind costs a bounded amount of memory and is then cut, with its cursor (SEMANTICS 24).
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

from heddle_core.ids import TenantId, ThreadId
from heddle_core.runtime_errors import SlowReader
from heddle_runtime.threads.deltas import Delta, Writing
from heddle_runtime.threads.events import Event
from heddle_runtime.threads.log import Committed, ThreadKey
from heddle_runtime.threads.pace import Pace
from heddle_runtime.threads.state import ThreadFold

MOST_EVENTS = 256
MOST_BYTES = 1024 * 1024

Item = Event | Delta


class Attention(Protocol):
    """Whoever has to know which threads are watched in this process; no thread id stands for all of a tenant."""

    def came(self, key: ThreadKey) -> None:
        """One watcher more."""
        ...

    def left(self, key: ThreadKey) -> None:
        """One watcher less."""
        ...


class NoAttention:
    """For a process that is told of every commit as it is: no other writes to its database."""

    def came(self, key: ThreadKey) -> None:
        """Nothing has to be done."""

    def left(self, key: ThreadKey) -> None:
        """Nothing has to be done."""


class Follower:
    """One reader's queue. The log puts in, one task takes out."""

    def __init__(self, followers: "Followers", key: ThreadKey, *, from_here: bool = True) -> None:
        """`from_here`: it reads for somebody who watches here, and not for another process."""
        self.from_here = from_here
        self.head = 0
        """Up to where the log is known to go, where other processes have written to it."""
        self._followers = followers
        self._key = key
        self._items: deque[Event | Delta | _Words] = deque()
        self._events = 0
        self._bytes = 0
        self._overrun = False
        self._holds_large = False
        self._words: _Words | None = None
        self._shown: Writing | None = None
        self._shown_time = 0.0
        self._alarm: asyncio.TimerHandle | None = None
        self.doorbell = asyncio.Event()

    def __enter__(self) -> "Follower":
        return self

    def __exit__(self, *_: object) -> None:
        self._silence()
        self._followers.remove(self._key, self)

    def put_event(self, event: Event) -> None:
        """Queue a fact. One is always admitted, whatever its size and wherever it stands."""
        self._close_words()
        self._admit(event, len(event.raw), 1)
        self.doorbell.set()

    def poke(self, head: int) -> None:
        """Another process has written to the thread, up to a sequence."""
        if head > self.head:
            self.head = head
            self.doorbell.set()

    def put_delta(self, delta: Delta) -> None:
        """Queue words that were written before."""
        self._admit(delta, len(delta.text), 0)
        self.doorbell.set()

    def words_came(self, writing: Writing) -> None:
        """Queue words: those that come after others travel with them, when the reader comes to take them."""
        self._close_words()
        self._words = _Words(writing)
        self._admit(self._words, 0, 0)
        self._ring_for_words(writing)

    def take(self, cursor: int) -> list[Item]:
        """All that waits. `cursor` is the last sequence that the reader has.

        Raises:
            SlowReader: something had to be dropped because it was not taken in time.
        """
        if self._overrun:
            raise SlowReader(cursor)
        self._close_words()
        taken: list[Item] = []
        for item in self._items:
            if isinstance(item, _Words):
                taken.extend(item.deltas())
                self._shown = item.writing
                self._shown_time = asyncio.get_running_loop().time()
            else:
                taken.append(item)
        self._items.clear()
        self._events = self._bytes = 0
        self._holds_large = False
        self._silence()
        self.doorbell.clear()
        return taken

    def _close_words(self) -> None:
        """Whatever comes next comes behind the words that wait."""
        words = self._words
        if words is not None:
            self._words = None
            self._bytes += words.close()
            words.writing.listen(self)

    def _ring_for_words(self, writing: Writing) -> None:
        """At once for the first words of a message; those that come soon behind others wait for more."""
        loop = asyncio.get_running_loop()
        due = self._shown_time + self._followers.pace.window
        if writing is not self._shown or loop.time() >= due:
            self.doorbell.set()
        elif self._alarm is None:
            self._alarm = loop.call_at(due, self._strike)

    def _strike(self) -> None:
        if self._alarm is not None:
            self._followers.pace.struck(asyncio.get_running_loop().time() - self._alarm.when())
        self.doorbell.set()

    def _silence(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _admit(self, item: "Event | Delta | _Words", size: int, events: int) -> None:
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


class _Words:
    """A stretch of a writing that waits: from its last piece on, until something else comes behind it."""

    __slots__ = ("_before", "_end", "_first", "writing")

    def __init__(self, writing: Writing) -> None:
        self.writing = writing
        self._first = writing.pieces - 1
        self._before = writing.characters
        self._end = 0

    def close(self) -> int:
        """Let no more pieces in; how many characters came behind the first."""
        self._end = self.writing.pieces
        return self.writing.characters - self._before

    def deltas(self) -> list[Delta]:
        """Once closed, its words."""
        return self.writing.between(self._first, self._end)


@dataclass(slots=True)
class _Audience:
    """Who reads a thread in this process, and what is being written there."""

    followers: list[Follower] = field(default_factory=list[Follower])
    writing: Writing | None = None


class Followers:
    """All readers of this process, by thread; and what is being written there."""

    def __init__(self, attention: Attention | None = None) -> None:
        self.pace = Pace()
        self._attention = attention or NoAttention()
        self._audiences: dict[ThreadKey, _Audience] = {}

    def join(self, tenant: TenantId, thread_id: ThreadId, last_sequence: int = 0) -> Follower:
        """A new reader of a thread: it gets all from now on, and first the text so far of what is being written."""
        self._attention.came((tenant, thread_id))
        return self._joined(Follower(self, (tenant, thread_id)), (tenant, thread_id), last_sequence)

    def join_for_others(self, tenant: TenantId, thread_id: ThreadId) -> Follower:
        """A reader for those who watch in other processes."""
        return self._joined(Follower(self, (tenant, thread_id), from_here=False), (tenant, thread_id), 0)

    def _joined(self, follower: Follower, key: ThreadKey, last_sequence: int) -> Follower:
        audience = self._audience(key)
        if audience.writing is not None:
            for delta in audience.writing.so_far(last_sequence):
                follower.put_delta(delta)
            audience.writing.listen(follower)
        audience.followers.append(follower)
        return follower

    def remove(self, key: ThreadKey, follower: Follower) -> None:
        """A reader has left."""
        audience = self._audiences[key]
        audience.followers.remove(follower)
        if audience.writing is not None:
            audience.writing.ignore(follower)
        self._forget(key, audience)
        if follower.from_here:
            self._attention.left(key)

    def committed(self, committed: Committed, _fold: ThreadFold | None) -> None:
        """Hand facts to the readers of their thread. A listener of the ThreadLog."""
        audience = self._audiences.get((committed.tenant, committed.thread_id))
        if audience is not None:
            for follower in audience.followers:
                for event in committed.events:
                    follower.put_event(event)

    def poke(self, tenant: TenantId, thread_id: ThreadId, head: int) -> None:
        """Have the readers of a thread look at the log: another process has written to it, up to a sequence."""
        audience = self._audiences.get((tenant, thread_id))
        if audience is not None:
            for follower in audience.followers:
                follower.poke(head)

    def read_here(self, tenant: TenantId, thread_id: ThreadId) -> bool:
        """Whether anybody reads a thread here."""
        audience = self._audiences.get((tenant, thread_id))
        return audience is not None and any(follower.from_here for follower in audience.followers)

    def writing(self, tenant: TenantId, thread_id: ThreadId) -> Writing | None:
        """What is being written on a thread, as far as this process knows."""
        audience = self._audiences.get((tenant, thread_id))
        return audience.writing if audience is not None else None

    def write_begins(self, tenant: TenantId, thread_id: ThreadId, writing: Writing) -> None:
        """A model begins a message: from now on its words are told to the thread's readers, also to those who join."""
        audience = self._audience((tenant, thread_id))
        audience.writing = writing
        for follower in audience.followers:
            writing.listen(follower)

    def write_ends(self, tenant: TenantId, thread_id: ThreadId) -> None:
        """The message is finished, discarded or abandoned: whoever joins now finds it in the log, or nowhere."""
        key = (tenant, thread_id)
        audience = self._audiences.get(key)
        if audience is not None:
            audience.writing = None
            self._forget(key, audience)

    def _audience(self, key: ThreadKey) -> _Audience:
        audience = self._audiences.get(key)
        if audience is None:
            audience = self._audiences[key] = _Audience()
        return audience

    def _forget(self, key: ThreadKey, audience: _Audience) -> None:
        if not audience.followers and audience.writing is None:
            del self._audiences[key]
