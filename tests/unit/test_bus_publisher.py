"""Publishing over a link: what is written when, and what becomes of a queue whose turn does not come."""

import asyncio
import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, cast

from nats.aio.client import Client
from nats.aio.msg import Msg

from heddle_bus.link import Link
from heddle_bus.port import Publication
from heddle_bus.publisher import Published, Publisher
from heddle_bus.subjects import thread_event
from heddle_core.errors import DeadlinePassed, ServiceUnreachable
from heddle_core.ids import TenantId, ThreadId

LONG = timedelta(seconds=30)


class Wire:
    """A link that keeps what is written, until it is lost."""

    most_payload = 1_000_000

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.lost = False
        self._written: asyncio.Queue[None] = asyncio.Queue()

    def new_inbox(self) -> str:
        return "_INBOX.test"

    async def listen(self, _pattern: str, _listener: Publisher) -> None:
        pass

    def write(self, commands: bytes) -> None:
        if self.lost:
            raise ServiceUnreachable("NATS", "the connection broke")
        self.writes.append(commands)
        self._written.put_nowait(None)

    async def next(self) -> list[str]:
        """The inboxes that the answers to the next write go to."""
        async with asyncio.timeout(10):
            await self._written.get()
        return self.inboxes(len(self.writes) - 1)

    def inboxes(self, write: int) -> list[str]:
        """Where the answers go to what was written in one piece."""
        lines = self.writes[write].decode().split("\r\n")
        return [line.split()[2] for line in lines if line.startswith("HPUB ")]


class World:
    def __init__(self) -> None:
        self.wire = Wire()
        self.publisher = Publisher(cast(Link, self.wire))
        self._places = 0

    async def begin(self, *depths: int, deadline: timedelta = LONG) -> "asyncio.Task[Published]":
        """Publish one queue of each depth."""
        await self.publisher.open()
        queues = [[_message(queue, number) for number in range(depth)] for queue, depth in enumerate(depths)]
        return asyncio.create_task(self.publisher.publish(queues, deadline))

    def answer(self, inboxes: Sequence[str]) -> None:
        """Answers that are read from the wire together."""
        for inbox in inboxes:
            self._places += 1
            data = json.dumps({"stream": "any", "seq": self._places}).encode()
            self.publisher.arrive(Msg(_client=cast(Any, Client), subject=inbox, data=data))


def _message(queue: int, number: int) -> Publication:
    name = f"{queue}-{number}"
    return Publication(thread_event(TenantId("acme"), ThreadId(f"t{queue}"), "Said"), b"x", message_id=name, headers={})


async def test_what_follows_on_answers_that_came_together_is_written_in_one_piece() -> None:
    world = World()
    running = await world.begin(2, 3, 1)
    world.answer(await world.wire.next())
    second = await world.wire.next()
    assert b"0-1" in world.wire.writes[1] and b"1-1" in world.wire.writes[1] and len(second) == 2
    world.answer(second)
    world.answer(await world.wire.next())
    assert [each.stored for each in (await running).progress] == [2, 3, 1]
    assert len(world.wire.writes) == 3


async def test_a_thread_has_one_message_under_way_at_a_time() -> None:
    world = World()
    running = await world.begin(2, 2)
    first, second = await world.wire.next()
    world.answer([first])
    behind_first = await world.wire.next()
    assert b"0-1" in world.wire.writes[1] and b"1-1" not in world.wire.writes[1]
    world.answer([second, *behind_first])
    world.answer(await world.wire.next())
    assert [each.stored for each in (await running).progress] == [2, 2]


async def test_behind_a_deadline_nothing_is_written() -> None:
    world = World()
    running = await world.begin(2, deadline=timedelta(milliseconds=50))
    first = await world.wire.next()
    await asyncio.wait([running])
    world.answer(first)
    (began,) = (await running).progress
    assert began.stored == 0 and isinstance(began.fault, DeadlinePassed)
    await asyncio.sleep(0)  # a turn of the loop, in which the second would be written
    assert len(world.wire.writes) == 1


async def test_an_answer_that_comes_with_a_cancellation_is_not_followed_by_a_message() -> None:
    world = World()
    running = await world.begin(2)
    first = await world.wire.next()
    running.cancel()
    world.answer(first)
    await asyncio.wait([running])
    await asyncio.sleep(0)  # a turn of the loop, in which the second would be written
    assert len(world.wire.writes) == 1


async def test_a_link_that_is_lost_between_two_messages_is_told_at_once() -> None:
    world = World()
    running = await world.begin(2, 1)
    first, _ = await world.wire.next()
    world.answer([first])
    world.wire.lost = True
    world.publisher.lost()
    between, waiting = (await running).progress
    assert between.stored == 1 and isinstance(between.fault, ServiceUnreachable)
    assert waiting.stored == 0 and isinstance(waiting.fault, ServiceUnreachable)
