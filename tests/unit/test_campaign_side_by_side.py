"""Much work of one kind, a few at a time."""

import asyncio

import pytest

from heddle_campaign.facade.side_by_side import AT_ONCE, side_by_side
from heddle_core.errors import StoreUnavailable


async def test_all_is_done_and_no_more_than_a_few_are_at_work_at_once() -> None:
    done, begun = list[int](), 0
    at_work, most, rest = 0, 0, asyncio.Event()

    async def work(number: int) -> None:
        nonlocal at_work, most, begun
        at_work, begun = at_work + 1, begun + 1
        most = max(most, at_work)
        if begun == AT_ONCE:
            rest.set()
        await rest.wait()
        at_work -= 1
        done.append(number)

    await side_by_side(work(number) for number in range(30))
    assert sorted(done) == list(range(30))
    assert most == AT_ONCE


async def test_a_fault_is_raised_as_it_is_and_ends_those_beside_it_and_begins_no_other() -> None:
    begun, stopped = list[int](), list[int]()

    async def work(number: int) -> None:
        begun.append(number)
        if number == 2:
            raise StoreUnavailable("full")
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(number)

    with pytest.raises(StoreUnavailable, match="full"):
        await side_by_side((work(number) for number in range(9)), at_once=3)
    assert (begun, sorted(stopped)) == ([0, 1, 2], [0, 1])


async def test_nothing_to_do_is_done_at_once() -> None:
    await side_by_side(())
