"""Group commit: what is waiting goes into one transaction, and one bad operation never fails the others.

It knows no engine. Whoever owns a writing connection gives it as a `Session`, and hands the outcomes back to the
event loop.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from heddle_core.errors import StoreUnavailable
from heddle_core.faults import HeddleError
from heddle_database.port import Transaction

# Named tuples, because one of each is made for every write, and a frozen dataclass costs four times as much.


class Order(NamedTuple):
    """One operation that somebody waits for."""

    operation: Callable[[Transaction], Any]
    on_commit: Callable[[Any], None] | None
    future: asyncio.Future[Any]


class Outcome(NamedTuple):
    """What came of an order: its result, or why there is none."""

    order: Order
    result: Any
    failure: BaseException | None


class OpenTransaction(Transaction, Protocol):
    """A transaction, with what must be known to judge an operation."""

    @property
    def changes(self) -> int:
        """Grows with every row that is changed, and with every change of the schema."""
        ...

    @property
    def failure(self) -> BaseException | None:
        """What the first failing statement raised; the transaction cannot be committed any more."""
        ...


class Session(Protocol):
    """A writing connection, with at most one open transaction."""

    def begin(self) -> OpenTransaction:
        """Raises `StoreUnavailable`; then nothing is open."""
        ...

    def commit(self) -> None:
        """Return once the open transaction is on stable storage.

        Raises `StoreUnavailable` when nothing was committed. Any other exception means that this is not known.
        """
        ...

    def rollback(self) -> None:
        """Leave no transaction open, whatever state the connection is in. Raises nothing."""
        ...


class Spoiled(NamedTuple):
    """A transaction that was rolled back: its orders, in the parts in which they have to be carried out again."""

    parts: tuple[Sequence[Order], ...]


class Carried(NamedTuple):
    """Orders that were carried out, with what came of each; `open` says whether a commit is still to follow."""

    orders: Sequence[Order]
    outcomes: list[Outcome]
    open: bool


class GroupCommit:
    """Carries out orders on one session, and counts.

    `settle` does all of it. Whoever wants the commit elsewhere calls `carry_out`, `Session.commit` and `judge`.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.commits = 0
        self.operations = 0
        self.replays = 0
        self.batch_sizes: list[int] = [0]

    def settle(self, orders: Sequence[Order]) -> Iterator[list[Outcome]]:
        """Carry out `orders` in their order; yields the outcomes of each transaction as soon as it has ended.

        When an operation spoils the transaction, everything is rolled back; then those before it share a
        transaction again, the culprit gets its own, and those after it share the next. When the commit itself
        fails, no culprit is known, and each gets its own.
        """
        groups = [orders]
        while groups:
            ended = self.carry_out(groups.pop())
            if isinstance(ended, Carried) and ended.open:
                ended = self.judge(ended, self.commit())
            if isinstance(ended, Spoiled):
                groups.extend(part for part in reversed(ended.parts) if part)
            else:
                yield ended.outcomes

    def carry_out(self, group: Sequence[Order]) -> Carried | Spoiled:
        """Begin a transaction and carry out the orders; what changed something stays open for the commit."""
        try:
            transaction = self._session.begin()
        except Exception as failure:
            return Carried(group, [Outcome(order, None, failure) for order in group], open=False)
        outcomes: list[Outcome] = []
        untouched = transaction.changes
        for place, order in enumerate(group):
            changes = transaction.changes
            try:
                result = order.operation(transaction)
                if transaction.failure is not None:
                    raise transaction.failure
            except BaseException as failure:  # even SystemExit: it belongs to the caller, not to this thread
                intact = transaction.failure is None and transaction.changes == changes
                if intact and isinstance(failure, HeddleError):
                    outcomes.append(Outcome(order, None, failure))
                    continue
                self._session.rollback()
                if len(group) > 1:
                    return self._spoiled((group[:place], group[place : place + 1], group[place + 1 :]))
                return Carried(group, [Outcome(order, None, failure)], open=False)
            outcomes.append(Outcome(order, result, None))
        if transaction.changes == untouched:
            self._session.rollback()
            return Carried(group, outcomes, open=False)
        return Carried(group, outcomes, open=True)

    def commit(self) -> Exception | None:
        """Commit what is open; what went wrong, if something did."""
        try:
            self._session.commit()
        except Exception as failure:
            return failure
        return None

    def judge(self, carried: Carried, failure: Exception | None) -> Carried | Spoiled:
        """What a commit, or its failure, means for the orders in it."""
        if failure is None:
            self._count(sum(outcome.failure is None for outcome in carried.outcomes))
            return carried._replace(open=False)
        self._session.rollback()
        if isinstance(failure, StoreUnavailable) and len(carried.orders) > 1:
            return self._spoiled(tuple(carried.orders[n : n + 1] for n in range(len(carried.orders))))
        return Carried(carried.orders, [_failed(outcome, failure) for outcome in carried.outcomes], open=False)

    def _spoiled(self, parts: tuple[Sequence[Order], ...]) -> Spoiled:
        self.replays += 1
        return Spoiled(parts)

    def _count(self, size: int) -> None:
        if size:
            self.commits += 1
            self.operations += size
            bucket = (size - 1).bit_length()
            self.batch_sizes.extend([0] * (bucket + 1 - len(self.batch_sizes)))
            self.batch_sizes[bucket] += 1


def deliver(loop: asyncio.AbstractEventLoop, outcomes: list[Outcome]) -> None:
    """Call each `on_commit` and answer each caller, in order. To be called on `loop`.

    A caller that is answered resumes in a later turn of the loop, so every `on_commit` comes before every caller.
    """
    for order, result, failure in outcomes:
        if failure is None and order.on_commit is not None:
            try:
                order.on_commit(result)
            except Exception as fault:
                loop.call_exception_handler(
                    {"message": "on_commit raised; the write itself stands", "exception": fault}
                )
        resolve(order.future, result, failure)


def resolve(future: asyncio.Future[Any], result: Any, failure: BaseException | None) -> None:
    """Hand one result or failure to whoever awaits `future`, if anybody still does."""
    if future.done():  # its caller was cancelled
        return
    if failure is None:
        future.set_result(result)
    elif isinstance(failure, StopIteration):  # a future refuses it, as a coroutine does
        future.set_exception(RuntimeError("the operation raised StopIteration"))
    else:
        future.set_exception(failure)


def _failed(outcome: Outcome, failure: Exception) -> Outcome:
    return outcome if outcome.failure is not None else Outcome(outcome.order, None, failure)
