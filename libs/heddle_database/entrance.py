"""Who is let in to a database, whatever its engine: nobody once it closes, and no more than its queues may hold."""

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

from heddle_core.errors import Overloaded, StoreUnavailable
from heddle_database.group_commit import resolve
from heddle_database.port import Transaction

T = TypeVar("T")


class Entrance:
    """Checked before anything is taken in."""

    def __init__(self, queue_limit: int) -> None:
        self.closing = False
        """Set once the database takes in nothing more."""
        self._queue_limit = queue_limit

    def require_open(self) -> None:
        """Raises `StoreUnavailable` once the database closes."""
        if self.closing:
            raise StoreUnavailable("the database is closing")

    def require_room(self, kind: str, waiting: int) -> None:
        """Raises as `require_open`, and `Overloaded` if so many of a kind wait already that one more is too much."""
        self.require_open()
        if waiting >= self._queue_limit:
            raise Overloaded(f"the queue of {kind}", self._queue_limit)


class Reading(NamedTuple):
    """An operation that only reads, and who waits for it."""

    operation: Callable[[Transaction], Any]
    future: asyncio.Future[Any]


class Reads:
    """Operations on their way to whoever reads, and their outcomes on the way back. For the event loop."""

    def __init__(self, entrance: Entrance, put: Callable[[Reading], None]) -> None:
        self._entrance = entrance
        self._put = put
        self._loop = asyncio.get_running_loop()
        self._waiting = 0

    def take(self, operation: Callable[[Transaction], T]) -> asyncio.Future[T]:
        """Put an operation in the queue; its outcome. Raises as `Entrance.require_room`."""
        self._entrance.require_room("reads", self._waiting)
        self._waiting += 1
        future: asyncio.Future[T] = self._loop.create_future()
        self._put(Reading(operation, future))
        return future

    def answer(self, future: asyncio.Future[Any], result: object, failure: BaseException | None) -> None:
        """Give whoever waits what came of the operation."""
        self._waiting -= 1
        resolve(future, result, failure)
