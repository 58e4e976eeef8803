"""A run that is told to stop does so where it waits, and nowhere else."""

import asyncio

import pytest

from heddle_runtime.runs.stop import Stop, following
from tests.kit.tasks import under_way


async def test_a_stop_ends_what_is_waited_for_and_the_run_goes_on_behind_it() -> None:
    stop = Stop()
    waiting = stop.within(None)
    asyncio.get_running_loop().call_soon(stop.set)
    async with waiting:
        await asyncio.Event().wait()
    assert waiting.cut and stop.is_set()
    await asyncio.sleep(0)


async def test_time_ends_a_wait_as_a_stop_does() -> None:
    stop = Stop()
    waiting = stop.within(0.001)
    async with waiting:
        await asyncio.Event().wait()
    assert waiting.cut and not stop.is_set()


async def test_a_wait_that_ends_by_itself_is_not_cut_and_a_later_stop_harms_nobody() -> None:
    stop = Stop()
    waiting = stop.within(30)
    async with waiting:
        await asyncio.sleep(0)
    stop.set()
    await asyncio.sleep(0)
    assert not waiting.cut


async def test_what_a_run_waits_for_after_a_stop_ends_at_its_first_pause() -> None:
    stop = Stop()
    stop.set()
    done: list[str] = []
    async with stop.within(None):
        done.append("before")
        await asyncio.Event().wait()
        done.append("after")
    assert done == ["before"]


async def test_one_stop_ends_several_waits() -> None:
    stop = Stop()

    async def wait() -> bool:
        waiting = stop.within(None)
        async with waiting:
            await asyncio.Event().wait()
        return waiting.cut

    waits = [await under_way(wait()) for _ in range(3)]
    stop.set()
    assert await asyncio.gather(*waits) == [True, True, True]


async def test_errors_and_cancels_from_elsewhere_pass_through() -> None:
    stop = Stop()
    with pytest.raises(TimeoutError, match="its own"):
        async with stop.within(30):
            raise TimeoutError("its own")
    task = await under_way(_forever(stop))
    task.cancel()
    stop.set()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_stop_follows_a_signal_set_before_or_meanwhile() -> None:
    signal = asyncio.Event()
    async with following(signal) as stop:
        asyncio.get_running_loop().call_soon(signal.set)
        async with stop.within(None):
            await asyncio.Event().wait()
        assert stop.is_set()
    async with following(signal) as stop:
        assert stop.is_set()


async def _forever(stop: Stop) -> None:
    async with stop.within(None):
        await asyncio.Event().wait()
