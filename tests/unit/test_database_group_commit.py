"""Group commit by itself, on a session that keeps nothing but a list."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import pytest

from heddle_core.clock import Micros
from heddle_core.errors import StoreUnavailable
from heddle_core.runtime_errors import RunNotFound
from heddle_database.group_commit import GroupCommit, Order, Outcome, deliver
from heddle_database.port import Row, Transaction


class ListSession:
    """Commits what was run; its commit fails as it is told, oldest first."""

    def __init__(self, *commit_failures: Exception | None, broken: bool = False) -> None:
        self.committed: list[str] = []
        self.begun = 0
        self._broken = broken
        self._commit_failures = list(commit_failures)
        self._open: ListTransaction | None = None

    def begin(self) -> "ListTransaction":
        self.begun += 1
        if self._broken:
            raise StoreUnavailable("gone")
        assert self._open is None
        self._open = ListTransaction()
        return self._open

    def commit(self) -> None:
        assert self._open is not None
        failure = self._commit_failures.pop(0) if self._commit_failures else None
        if failure is not None:
            raise failure
        self.committed += self._open.done
        self._open = None

    def rollback(self) -> None:
        self._open = None


class ListTransaction:
    now = Micros(0)
    failure = None

    def __init__(self) -> None:
        self.done: list[str] = []

    @property
    def changes(self) -> int:
        return len(self.done)

    def run(self, sql: str, /, **params: object) -> int:
        self.done.append(sql)
        return 1

    def rows(self, sql: str, /, **params: object) -> list[Row]:
        return []

    def row(self, sql: str, /, **params: object) -> Row | None:
        return None

    def many(self, sql: str, params: Sequence[Mapping[str, object]], /) -> None:
        self.done += [sql] * len(params)


@pytest.fixture
async def loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()


Ordering = Callable[[Callable[[Transaction], object]], Order]


@pytest.fixture
async def order(loop: asyncio.AbstractEventLoop) -> Ordering:
    return lambda operation: Order(operation, None, loop.create_future())


def run(name: str) -> Callable[[Transaction], str]:
    def operation(transaction: Transaction) -> str:
        transaction.run(name)
        return name

    return operation


def fail(_transaction: Transaction) -> None:
    raise ZeroDivisionError


def refuse(_transaction: Transaction) -> None:
    raise RunNotFound("r1")


def settled(group_commit: GroupCommit, orders: Sequence[Order]) -> list[list[object]]:
    """For each transaction what its operations came to: a result, or the type of the failure."""
    return [
        [type(outcome.failure) if outcome.failure else outcome.result for outcome in outcomes]
        for outcomes in group_commit.settle(orders)
    ]


async def test_those_before_and_after_a_bad_one_share_a_transaction_each(order: Ordering) -> None:
    session = ListSession()
    group_commit = GroupCommit(session)
    orders = [order(each) for each in (run("a"), run("b"), fail, run("c"), run("d"))]
    assert settled(group_commit, orders) == [["a", "b"], [ZeroDivisionError], ["c", "d"]]
    assert session.committed == ["a", "b", "c", "d"]
    assert (group_commit.commits, group_commit.operations, group_commit.replays) == (2, 4, 1)


async def test_an_operation_that_fails_only_in_company_succeeds_alone(order: Ordering) -> None:
    calls: list[int] = []

    def moody(transaction: Transaction) -> str:
        calls.append(1)
        if len(calls) == 1:
            raise ZeroDivisionError
        transaction.run("moody")
        return "moody"

    session = ListSession()
    assert settled(GroupCommit(session), [order(run("a")), order(moody)]) == [["a"], ["moody"]]
    assert session.committed == ["a", "moody"]


async def test_a_refusal_without_a_change_stays_in_its_batch(order: Ordering) -> None:
    session = ListSession()
    group_commit = GroupCommit(session)
    assert settled(group_commit, [order(run("a")), order(refuse), order(run("b"))]) == [["a", RunNotFound, "b"]]
    assert session.begun == 1
    assert group_commit.operations == 2


async def test_a_commit_that_failed_for_sure_is_tried_again_one_by_one(order: Ordering) -> None:
    full = StoreUnavailable("the disk is full")
    session = ListSession(full, None, full, None)
    orders = [order(run(name)) for name in "abc"]
    assert settled(GroupCommit(session), orders) == [["a"], [StoreUnavailable], ["c"]]
    assert session.committed == ["a", "c"]


async def test_a_commit_whose_end_is_unknown_is_never_tried_again(order: Ordering) -> None:
    session = ListSession(ConnectionResetError())
    orders = [order(run("a")), order(refuse), order(run("b"))]
    assert settled(GroupCommit(session), orders) == [[ConnectionResetError, RunNotFound, ConnectionResetError]]
    assert session.begun == 1


async def test_a_store_that_is_gone_fails_the_whole_batch_with_one_attempt(order: Ordering) -> None:
    session = ListSession(broken=True)
    orders = [order(run(name)) for name in "abc"]
    assert settled(GroupCommit(session), orders) == [[StoreUnavailable] * 3]
    assert session.begun == 1


async def test_batch_sizes_are_counted_by_powers_of_two(order: Ordering) -> None:
    group_commit = GroupCommit(ListSession())
    for size in (1, 2, 3, 4, 5, 256):
        settled(group_commit, [order(run("a"))] * size)
    assert group_commit.batch_sizes == [1, 1, 2, 1, 0, 0, 0, 0, 1]


async def test_delivery_passes_over_callers_who_left(loop: asyncio.AbstractEventLoop) -> None:
    left, stayed = loop.create_future(), loop.create_future()
    left.cancel()
    deliver(loop, [Outcome(Order(fail, None, future), 1, None) for future in (left, stayed)])
    assert await stayed == 1
