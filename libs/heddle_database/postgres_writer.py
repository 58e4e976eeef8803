"""One of the writers of a PostgreSQL database: a connection, the writes that wait for it, and their group commit."""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from sqlalchemy.util import greenlet_spawn

from heddle_core.clock import Clock
from heddle_core.errors import StoreUnavailable
from heddle_database.group_commit import GroupCommit, Order, Outcome, deliver
from heddle_database.postgres_connection import Collision, CommitUnknown, PostgresLink
from heddle_database.postgres_transaction import CommitOrder, PostgresSession

_MOST_REPEATS = 5
"""Of an operation that runs into others'. Each time at least one of those that collide gets through."""


class _Waiting(NamedTuple):
    order: Order
    affinity: str
    bulk: bool


class PostgresWriter:
    """Carries out writes on one connection, in the order in which they came where they share an affinity."""

    def __init__(self, link: PostgresLink, clock: Clock | None, order: CommitOrder, batch_limit: int) -> None:
        self._link = link
        self._batch_limit = batch_limit
        self._queue: deque[_Waiting] = deque()
        self._doorbell = asyncio.Event()
        self._stopping = False
        self._session = PostgresSession(link, clock, order)
        self.group_commit = GroupCommit(self._session)
        self.waiting = 0
        """Orders accepted and not settled yet."""

    def put(self, order: Order, affinity: str, *, bulk: bool) -> None:
        """Have an order carried out."""
        self.waiting += 1
        self._queue.append(_Waiting(order, affinity, bulk))
        self._doorbell.set()

    def stop(self) -> None:
        """Have `serve` return when all is settled. Nothing may be put any more."""
        self._stopping = True
        self._doorbell.set()

    async def serve(self) -> None:
        """Settle what is put, until `stop`; then let go of the connection. Not to be cancelled: see GUARANTEES."""
        while True:
            await self._doorbell.wait()
            self._doorbell.clear()  # before looking, or a ring in between is lost
            while self._queue:
                await greenlet_spawn(self._settle, self._gather())
            if self._stopping:
                await self._link.close()
                return

    def _gather(self) -> list[_Waiting]:
        return [self._queue.popleft() for _ in range(min(len(self._queue), self._batch_limit))]

    def _settle(self, batch: Sequence[_Waiting]) -> None:
        loop = asyncio.get_running_loop()
        for group in _groups(batch):
            for outcomes in self.group_commit.settle(group):
                settled = [self._settled(outcome) for outcome in outcomes]
                self.waiting -= len(settled)
                deliver(loop, settled)
                self._session.told()

    def _settled(self, outcome: Outcome) -> Outcome:
        """The outcome, after as many repeats as it takes where others were in the way.

        A repeat happens before anything that waits behind it, so that an affinity's order holds.
        """
        repeats = 0
        while isinstance(outcome.failure, Collision) and repeats < (_MOST_REPEATS if outcome.failure.repeatable else 1):
            repeats += 1
            [[outcome]] = self.group_commit.settle([outcome.order])
        match outcome.failure:
            case Collision() as collision:
                return outcome._replace(failure=collision.outcome)
            case CommitUnknown():
                lost = "the connection was lost at the commit, which may have happened"
                return outcome._replace(failure=StoreUnavailable(lost))
            case _:
                return outcome


def _groups(batch: Sequence[_Waiting]) -> Iterator[list[Order]]:
    """What shares a transaction.

    Writes with an affinity lock its thread, so they go in the order of their affinities: two writers that need the
    same threads, in this process or another one, then wait for each other and never in a circle. What others lock is
    not known, so they get a transaction of their own; and so does each that has much to do: no other need wait for it.
    """
    bound = sorted((each for each in batch if each.affinity and not each.bulk), key=lambda each: each.affinity)
    free = [each.order for each in batch if not each.affinity and not each.bulk]
    if bound:
        yield [each.order for each in bound]
    if free:
        yield free
    for each in batch:
        if each.bulk:
            yield [each.order]
