"""The only writing connection of a SQLite file, used by the event loop and by a thread in turn.

A statement takes microseconds, but lets go of the interpreter's lock; a thread beside a busy loop would have to win
it back each time. So operations run on the loop. A commit takes as long as the disk does: on a quick disk, where
handing over would take longer than the commit itself, it stays on the loop, too; on any other it goes to the thread,
and what comes in meanwhile makes up the next batch. Operations of many rows, checkpoints, changes of the schema and
whatever has to wait for a foreign process's lock go to the thread as a whole.
"""

import asyncio
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

from heddle_database.group_commit import Carried, GroupCommit, Order, Outcome, Spoiled, deliver
from heddle_database.sqlite_connection import SqliteOptions
from heddle_database.sqlite_transaction import SqliteSession

T = TypeVar("T")


class Errand(NamedTuple):
    """Work for the thread, which has the connection to itself meanwhile, and where its outcome goes on the loop."""

    work: Callable[[], Any]
    settled: Callable[[Any, BaseException | None], None]


class CommitPace:
    """Where to commit, by how long the last commits took."""

    QUICK = 0.001
    """Seconds on average, below which a commit is not worth handing over. Two hand-overs take about half of it."""

    def __init__(self) -> None:
        self._average = 2 * self.QUICK

    @property
    def quick(self) -> bool:
        """Whether commits are so short that the event loop may wait for them."""
        return self._average < self.QUICK

    def took(self, seconds: float) -> None:
        """Note a commit. One of 5 times `QUICK` sends the next ones to the thread, until the disk has recovered."""
        self._average += (seconds - self._average) / 5


class SqliteWriter:
    """Takes orders and errands in turn. All methods belong to the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, session: SqliteSession, options: SqliteOptions) -> None:
        self.group_commit = GroupCommit(session)
        self.waiting = 0
        """Orders that were taken and are not settled yet."""
        self._loop = loop
        self._session = session
        self._options = options
        self._tasks: deque[Order | Errand] = deque()
        self._again: list[Sequence[Order]] = []
        self._awake = False
        self._lent = False
        self._pace = CommitPace()
        self._checkpointed = 0
        self._errands: queue.SimpleQueue[Errand | None] = queue.SimpleQueue()

    def start(self, name: str) -> None:
        """Begin to serve, in a thread of that name."""
        threading.Thread(target=self._serve, name=name, daemon=True).start()

    def put(self, order: Order, *, bulk: bool) -> None:
        """Take an order; its future tells the outcome."""
        self.waiting += 1
        self._tasks.append(self._patient([order]) if bulk else order)
        self._wake()

    def send(self, errand: Errand) -> None:
        """Take an errand; it comes after all that was taken before."""
        self._tasks.append(errand)
        self._wake()

    def stop(self) -> None:
        """Let the thread go, once all that was taken is settled."""

        def let_go(_result: object, _failure: BaseException | None) -> None:
            self._errands.put(None)

        self.send(Errand(lambda: None, let_go))

    def _wake(self) -> None:
        # Through the loop's queue, so that whoever was answered by the last commit can join the next batch.
        if not self._awake and not self._lent:
            self._awake = True
            self._loop.call_soon(self._proceed)

    def _proceed(self) -> None:
        self._awake = False
        if self._again:
            self._carry_out(self._again.pop())
        elif self._tasks:
            first = self._tasks.popleft()
            if isinstance(first, Errand):
                self._lend(first)
            else:
                self._carry_out(self._gather(first))

    def _gather(self, first: Order) -> list[Order]:
        orders = [first]
        while self._tasks and len(orders) < self._options.batch_limit:
            task = self._tasks[0]
            if isinstance(task, Errand):
                break
            orders.append(task)
            self._tasks.popleft()
        return orders

    def _carry_out(self, orders: Sequence[Order]) -> None:
        carried = self.group_commit.carry_out(orders)
        if self._session.blocked:
            self._lend(self._patient(orders))
        elif isinstance(carried, Carried) and carried.open:
            if self._pace.quick:
                self._committed(carried, *outcome_of(self._commit))
                self._wake_if_more()
            else:
                self._lend(Errand(self._commit, partial(self._committed, carried)))
        else:
            self._ended(carried)
            self._wake_if_more()

    def _commit(self) -> tuple[Exception | None, float]:
        start = time.perf_counter()
        failure = self.group_commit.commit()
        return failure, time.perf_counter() - start

    def _committed(
        self, carried: Carried, made: tuple[Exception | None, float] | None, fault: BaseException | None
    ) -> None:
        failure, seconds = made or (RuntimeError(f"the commit broke off: {fault!r}"), CommitPace.QUICK)
        self._pace.took(seconds)
        self._ended(self.group_commit.judge(carried, failure))
        self._checkpoint_in_time()

    def _checkpoint_in_time(self) -> None:
        """Copy the write-ahead log back before it is long. SQLite would do so within some commit, on this thread."""
        if self.group_commit.operations - self._checkpointed >= self._options.checkpoint_operations:
            self._checkpointed = self.group_commit.operations
            self._tasks.appendleft(Errand(self._session.checkpoint, _ignored))

    def _ended(self, result: Carried | Spoiled) -> None:
        if isinstance(result, Spoiled):
            self._again.extend(part for part in reversed(result.parts) if part)
        else:
            self._deliver(result.outcomes)

    def _deliver(self, outcomes: list[Outcome]) -> None:
        self.waiting -= len(outcomes)
        deliver(self._loop, outcomes)

    def _patient(self, orders: Sequence[Order]) -> Errand:
        """The orders as an errand: the thread may wait for a lock, and take its time."""

        def settle() -> list[list[Outcome]]:
            with self._session.patience(self._options.busy_timeout):
                return list(self.group_commit.settle(orders))

        def settled(ended: list[list[Outcome]] | None, failure: BaseException | None) -> None:
            for outcomes in ended or [[Outcome(order, None, failure) for order in orders]]:
                self._deliver(outcomes)

        return Errand(settle, settled)

    def _lend(self, errand: Errand) -> None:
        self._lent = True
        self._errands.put(errand)

    def _returned(self, errand: Errand, result: object, failure: BaseException | None) -> None:
        self._lent = False
        errand.settled(result, failure)
        self._wake_if_more()

    def _wake_if_more(self) -> None:
        if self._tasks or self._again:
            self._wake()

    # --- on the thread -------------------------------------------------------------------------------------

    def _serve(self) -> None:
        while (errand := self._errands.get()) is not None:
            result, failure = outcome_of(errand.work)
            post(self._loop, self._returned, errand, result, failure)


def _ignored(_result: object, _failure: BaseException | None) -> None:
    """A checkpoint that failed is made up for by the next one."""


def outcome_of(call: Callable[[], T]) -> tuple[T | None, BaseException | None]:
    """What a call returned or raised: it belongs to whoever waits, not to the thread that made the call."""
    try:
        return call(), None
    except BaseException as failure:
        return None, failure


def post(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *arguments: object) -> None:
    """Have the loop call. A loop that was closed meanwhile has nobody left who waits."""
    try:
        loop.call_soon_threadsafe(call, *arguments)
    except RuntimeError:
        assert loop.is_closed()
