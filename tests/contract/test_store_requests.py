"""Requests that nobody repeats any more are let go, on every engine; what made a run or a thread is not."""

from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from heddle_core.ids import RequestId
from heddle_core.runtime_errors import RequestCancelled
from heddle_runtime.facade.commands import Disposition, RequestKey
from heddle_runtime.store import requests
from heddle_runtime.store.log import LogWriter
from heddle_runtime.store.retention import LogRetention
from tests.kit.stores import ADA, SHOPS, Shop

WEEK = timedelta(days=7)


@pytest_asyncio.fixture(params=SHOPS)
async def shop(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Shop]:
    async with SHOPS[request.param](tmp_path) as opened:
        yield opened


def key(request_id: str, method: str) -> RequestKey:
    return RequestKey(method, RequestId(request_id), b"body")


async def remember(shop: Shop, *keys: RequestKey) -> None:
    def write(writer: LogWriter) -> None:
        for each in keys:
            requests.remember(writer.tx, ADA, each)

    await shop.store.write(write)


async def known(shop: Shop) -> list[str]:
    def read(tx: Any) -> list[str]:
        return sorted(row[0] for row in tx.rows("SELECT request_id FROM requests"))

    return await shop.store.read(read)


async def test_requests_that_made_no_run_and_no_thread_go_with_their_age_the_oldest_first(shop: Shop) -> None:
    for number in range(4):
        await remember(shop, key(f"r{number}", "UpdateAgent"))
        shop.clock.advance(1)
    upkeep = LogRetention(shop.store)
    shop.clock.advance(WEEK.total_seconds() - 4)
    assert await upkeep.purge_requests(WEEK, 9) == 0
    shop.clock.advance(3)
    assert await upkeep.purge_requests(WEEK, 2) == 2
    assert await known(shop) == ["r2", "r3"]
    assert await upkeep.purge_requests(WEEK, 2) == 1
    assert await known(shop) == ["r3"]


async def test_what_made_a_run_or_a_thread_is_known_however_old_it_is(shop: Shop) -> None:
    first = await shop.turn("t1", request_id="turn")
    await remember(shop, key("made", "CreateThread"), key("forked", "ForkThread"), key("archived", "ArchiveAgent"))
    shop.clock.advance(400 * 86_400)
    assert await LogRetention(shop.store).purge_requests(WEEK, 9) == 1
    assert await known(shop) == ["forked", "made", "turn"]
    again = await shop.turn("t1", request_id="turn")
    assert (again.run.run_id, again.disposition) == (first.run.run_id, Disposition.EXISTING)


async def test_a_cancel_that_came_before_its_turn_holds_for_its_time(shop: Shop) -> None:
    await shop.store.write(lambda writer: requests.leave_tombstone(writer.tx, ADA, RequestId("late")))
    shop.clock.advance(WEEK.total_seconds())
    assert await LogRetention(shop.store).purge_requests(WEEK, 9) == 0
    with pytest.raises(RequestCancelled):
        await shop.turn("t1", request_id="late")
    shop.clock.advance(1)
    assert await LogRetention(shop.store).purge_requests(WEEK, 9) == 1
