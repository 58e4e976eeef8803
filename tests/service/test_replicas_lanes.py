"""A worker beside another process on its database, which tells it nothing: its sweep finds what was done there."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest_asyncio

from heddle_core.ids import ThreadId
from heddle_runtime.models.port import ModelRequest
from heddle_runtime.runs.state import RunState
from heddle_runtime.store.store import Store
from heddle_runtime.threads.events import RunResumed
from heddle_runtime.threads.log import Committed
from tests.kit.stores import ACME, LEASE, OTHER, Shop, sqlite_shop
from tests.service.test_runtime_lanes import World, ended, worker

T1 = ThreadId("t1")


@pytest_asyncio.fixture
async def shop(tmp_path: Path) -> AsyncGenerator[Shop]:
    async with sqlite_shop(tmp_path) as running:
        yield beside(running)


def beside(shop: Shop) -> Shop:
    """Another process on the same database."""
    return replace(shop, store=Store(shop.database, shared=True), counts={"run": 100, "req": 100, "said": 100})


class Endless(World):
    """A model that says nothing until it is stopped."""

    def __init__(self) -> None:
        super().__init__()
        self.stopped = asyncio.Event()
        self.held.clear()

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Any, None]:
        try:
            async for event in super().stream(request):
                yield event
        finally:
            self.stopped.set()


async def test_a_cancel_of_another_process_is_found_without_a_doorbell(shop: Shop) -> None:
    world = Endless()
    async with worker(shop, world):
        run_id = (await shop.turn()).run.run_id
        await world.asked.wait()
        await beside(shop).cancel(run_id)
        assert (await ended(shop, run_id)).state is RunState.CANCELLED


async def test_a_run_that_was_taken_away_is_worked_on_no_more(shop: Shop) -> None:
    world, other = Endless(), beside(shop)
    await other.store.renew_lease(OTHER, "there", LEASE)
    async with worker(shop, world):
        run_id = (await shop.turn()).run.run_id
        await world.asked.wait()
        await other.store.write(
            lambda writer: writer.tx.run("UPDATE runs SET owner = :owner, fence = fence + 1", owner=OTHER)
        )
        async with asyncio.timeout(20):
            await world.stopped.wait()
        assert (await shop.run(run_id)).owner == OTHER
        assert (await other.kinds())[-1] == "StepStarted", "nothing was written since"


async def test_an_owner_that_reads_that_another_has_begun_stops(shop: Shop) -> None:
    world, other = Endless(), beside(shop)
    async with worker(shop, world) as lanes:
        await shop.turn()
        await world.asked.wait()
        (held,) = await other.store.owned(lanes.worker_id)
        resumed = RunResumed(2, held.fence + 1, OTHER)
        fold = await shop.fold()
        event = replace((await other.events())[-1], sequence=fold.last_sequence + 1, payload=resumed)
        lanes.committed(Committed(ACME, T1, (event,)), None)
        async with asyncio.timeout(20):
            await world.stopped.wait()
