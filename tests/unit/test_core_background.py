"""Work beside a block: it is kept up while the block lasts, nothing ends it unheard, and it has ended behind it."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import timedelta
from typing import Any

import pytest

from heddle_core.background import in_background
from heddle_core.errors import StoreUnavailable
from tests.kit.log_capture import capture_logs

AT_ONCE = timedelta(0)


async def for_ever() -> None:
    await asyncio.Event().wait()


def failing(fault: Exception, attempts: list[int], enough: asyncio.Event) -> Callable[[], Coroutine[Any, Any, None]]:
    """Work that fails twice, and then goes on."""

    async def work() -> None:
        attempts.append(len(attempts) + 1)
        if len(attempts) < 3:
            raise fault
        enough.set()
        await for_ever()

    return work


async def test_work_has_ended_when_the_block_is_left() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await for_ever()
        finally:
            await asyncio.sleep(0)
            ended.set()

    async with in_background({"waiting": work}):
        await begun.wait()
        assert not ended.is_set()
    assert ended.is_set()


@pytest.mark.parametrize(
    ("fault", "line", "level"),
    [
        (StoreUnavailable("the disk is away"), "counting begins again", "info"),
        (ZeroDivisionError("three by nothing"), "counting ended with an unexpected fault", "error"),
    ],
    ids=["a fault of ours", "any other"],
)
async def test_work_that_fails_is_heard_of_and_begins_again(fault: Exception, line: str, level: str) -> None:
    attempts: list[int] = []
    enough = asyncio.Event()
    with capture_logs() as lines:
        async with in_background({"counting": failing(fault, attempts, enough)}, pause=AT_ONCE):
            await enough.wait()
    assert attempts == [1, 2, 3]
    assert [(each["event"], each["level"]) for each in lines] == [(line, level)] * 2


async def test_work_that_ends_begins_again() -> None:
    times = 0
    enough = asyncio.Event()

    async def work() -> None:
        nonlocal times
        times += 1
        if times == 3:
            enough.set()

    with capture_logs() as lines:
        async with in_background({"ending": work}, pause=AT_ONCE):
            await enough.wait()
    assert [each["event"] for each in lines][:2] == ["ending has ended, and begins again"] * 2


async def test_work_that_fails_does_not_end_other_work() -> None:
    attempts: list[int] = []
    enough, other_ended = asyncio.Event(), asyncio.Event()

    async def other() -> None:
        try:
            await for_ever()
        finally:
            other_ended.set()

    work = {"failing": failing(ZeroDivisionError(), attempts, enough), "other": other}
    async with in_background(work, pause=AT_ONCE):
        await enough.wait()
        assert not other_ended.is_set()


async def test_work_that_fails_on_its_way_out_does_not_stay() -> None:
    begun = asyncio.Event()
    starts = 0

    async def work() -> None:
        nonlocal starts
        starts += 1
        begun.set()
        try:
            await for_ever()
        finally:
            raise ZeroDivisionError("in place of the cancellation")

    with capture_logs() as lines:
        async with in_background({"closing": work}, pause=AT_ONCE):
            await begun.wait()
    assert starts == 1
    assert [each["event"] for each in lines] == ["closing ended with an unexpected fault"]


async def test_work_that_swallows_its_cancellation_does_not_stay() -> None:
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()
        try:
            await for_ever()
        except asyncio.CancelledError:
            return

    async with asyncio.timeout(10), in_background({"deaf": work}, pause=AT_ONCE):
        await begun.wait()


async def test_work_whose_cancellation_was_swallowed_is_cancelled_again() -> None:
    begun = asyncio.Event()

    async def work() -> None:
        begun.set()
        with suppress(asyncio.CancelledError):
            await for_ever()
        await for_ever()

    async with asyncio.timeout(10), in_background({"deaf": work}, patience=AT_ONCE):
        await begun.wait()


async def test_a_block_without_work_is_just_a_block() -> None:
    async with in_background({}):
        pass
