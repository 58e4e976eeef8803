"""The motion of services that follow runs: bells, sweeps and watching, with nothing behind them but events."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from heddle_client.motion import Motion, MotionSettings
from heddle_core.clock import ManualClock
from heddle_core.errors import ServiceUnreachable, StoreUnavailable

QUIET = MotionSettings(sweep_every=timedelta(hours=1))


@dataclass
class Looks:
    """Who was looked at, one look after the other; a held one lasts until it is let go."""

    looks: asyncio.Queue[str] = field(default_factory=asyncio.Queue[str])
    held: dict[str, asyncio.Event] = field(default_factory=dict[str, asyncio.Event])
    failures: list[Exception] = field(default_factory=list[Exception])
    sweeps: asyncio.Queue[None] = field(default_factory=asyncio.Queue[None])
    sweep_failures: list[Exception] = field(default_factory=list[Exception])
    pause: float = 3_600.0
    clock: ManualClock = field(default_factory=ManualClock)

    async def look(self, key: str) -> None:
        self.looks.put_nowait(key)
        if self.failures:
            raise self.failures.pop(0)
        if key in self.held:
            await self.held[key].wait()

    async def sweep(self) -> float:
        self.sweeps.put_nowait(None)
        if self.sweep_failures:
            raise self.sweep_failures.pop(0)
        return self.pause

    async def seen(self) -> str:
        async with asyncio.timeout(5):
            return await self.looks.get()

    async def swept(self) -> None:
        async with asyncio.timeout(5):
            await self.sweeps.get()

    @asynccontextmanager
    async def moving(self, settings: MotionSettings = QUIET) -> AsyncGenerator[Motion[str]]:
        motion = Motion[str](self.look, self.sweep, self.clock, settings)
        async with motion.serving():
            await self.swept()
            yield motion


async def test_a_ring_during_a_look_is_answered_by_one_more_look() -> None:
    looks = Looks(held={"a": asyncio.Event()})
    async with looks.moving() as motion:
        motion.ring("a")
        assert await looks.seen() == "a"
        motion.ring("a")
        motion.ring("a")
        looks.held["a"].set()
        assert await looks.seen() == "a"
        motion.ring("b")
        assert await looks.seen() == "b"
        assert looks.looks.empty()


async def test_no_more_are_looked_at_side_by_side_than_allowed() -> None:
    looks = Looks(held={"a": asyncio.Event()})
    async with looks.moving(MotionSettings(timedelta(hours=1), at_once=1)) as motion:
        motion.ring("a")
        motion.ring("b")
        assert await looks.seen() == "a"
        assert looks.looks.empty()
        looks.held["a"].set()
        assert await looks.seen() == "b"


async def test_room_is_told_and_a_sweep_comes_when_half_of_it_is_free_again() -> None:
    looks = Looks(held={key: asyncio.Event() for key in "abcd"})
    async with looks.moving(MotionSettings(timedelta(hours=1), at_once=4)) as motion:
        assert motion.room == 4
        for key in "abcd":
            motion.ring(key)
            assert await looks.seen() == key
        assert motion.room == 0
        looks.held["a"].set()
        looks.held["b"].set()
        await looks.swept()
        assert motion.room == 2


async def test_one_that_cannot_be_looked_at_stops_nobody() -> None:
    looks = Looks(failures=[ServiceUnreachable("the runtime", "gone"), ValueError("broken")])
    async with looks.moving() as motion:
        for key in ("a", "b", "c"):
            motion.ring(key)
        assert sorted([await looks.seen() for _ in range(3)]) == ["a", "b", "c"]
        motion.ring("a")
        assert await looks.seen() == "a"


async def test_a_sweep_comes_when_it_was_announced_when_asked_and_when_something_is_due_before_it() -> None:
    looks = Looks()
    async with looks.moving() as motion:
        motion.sweep_now()
        await looks.swept()
        motion.note_due(looks.clock.now() + 7_200_000_000)
        motion.note_due(0)
        looks.pause = 0.0
        motion.note_due(looks.clock.now() + 1_000_000)
        await looks.swept()
        await looks.swept()


async def test_a_sweep_that_fails_is_followed_by_another() -> None:
    looks = Looks(sweep_failures=[StoreUnavailable("gone"), ValueError("broken")], pause=0.0)
    async with looks.moving(MotionSettings(sweep_every=timedelta(milliseconds=20))):
        for _ in range(3):
            await looks.swept()


async def test_what_happens_in_a_watched_thread_rings_until_it_is_watched_no_more() -> None:
    looks = Looks()
    facts: asyncio.Queue[int] = asyncio.Queue()
    closed = asyncio.Event()
    begun: list[str] = []

    async def heads() -> AsyncGenerator[int, None]:
        begun.append("once")
        try:
            while True:
                yield await facts.get()
        finally:
            closed.set()

    async with looks.moving() as motion:
        motion.watch("a", "t1", heads)
        motion.watch("a", "t1", heads)
        facts.put_nowait(1)
        assert await looks.seen() == "a"
        assert begun == ["once"]
        motion.unwatch("a")
        async with asyncio.timeout(5):
            await closed.wait()


async def test_no_more_threads_are_watched_than_allowed_and_a_place_is_free_again() -> None:
    looks = Looks()
    ended = asyncio.Event()

    async def heads() -> AsyncGenerator[int, None]:
        yield 1
        raise ServiceUnreachable("the runtime", "gone")

    async def never() -> AsyncGenerator[int, None]:
        ended.set()
        yield 1

    async with looks.moving(MotionSettings(timedelta(hours=1), most_watched=1)) as motion:
        motion.watch("a", "t1", heads)
        motion.watch("b", "t2", never)
        assert await looks.seen() == "a"
        assert not ended.is_set()
        async with asyncio.timeout(5):
            while not ended.is_set():
                motion.watch("b", "t2", never)
                await asyncio.sleep(0)
        assert await looks.seen() == "b"


async def test_what_is_under_way_ends_with_the_service_and_nothing_begins_after_it() -> None:
    looks = Looks(held={"a": asyncio.Event()})
    async with looks.moving() as motion:
        motion.ring("a")
        assert await looks.seen() == "a"
    motion.ring("b")
    motion.sweep_now()
    assert looks.looks.empty()
    assert len(asyncio.all_tasks()) == 1
