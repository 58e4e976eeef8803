"""What replicas ask of the database that they share, on every engine; and what a sweep does to a cancelled run."""

from collections.abc import AsyncGenerator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from heddle_core.ids import TenantId, ThreadId
from heddle_runtime.runs.state import RunState
from heddle_runtime.store.replica_store import DatabaseReplicaStore
from tests.kit.stores import ACME, GRACE, LEASE, OTHER, SHOPS, WORKER, Shop


@pytest_asyncio.fixture(params=SHOPS)
async def shop(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Shop]:
    async with SHOPS[request.param](tmp_path) as running:
        yield running


@pytest.fixture
def rows(shop: Shop) -> DatabaseReplicaStore:
    return DatabaseReplicaStore(shop.store)


def key(name: str, tenant: TenantId = ACME) -> tuple[TenantId, ThreadId]:
    return tenant, ThreadId(name)


async def test_the_ends_of_many_logs_are_told_at_once(shop: Shop, rows: DatabaseReplicaStore) -> None:
    names = [f"t{number}" for number in range(70)]
    for name in names:
        await shop.turn(name)
    await shop.turn("t3")
    asked = [*map(key, names), key("none"), key("t1", TenantId("globex"))]
    ends = await rows.last_sequences(asked)
    assert set(ends) == set(map(key, names))
    assert ends == {each: (await shop.fold(each[1])).last_sequence for each in ends}
    assert ends[key("t3")] > ends[key("t4")]
    assert await rows.last_sequences([]) == {}


async def test_only_who_works_on_a_thread_is_its_owner(shop: Shop, rows: DatabaseReplicaStore) -> None:
    await shop.turn("idle")
    await shop.owner("busy")
    waiting = await shop.owner("waiting")
    await waiting.ask("which")
    ended = await shop.owner("ended")
    await ended.say("done")
    await ended.complete()
    names = ["idle", "busy", "waiting", "ended", "none"]
    assert await rows.owners([*map(key, names), key("busy", TenantId("globex"))]) == {key("busy"): WORKER}


async def test_threads_are_found_by_when_they_were_written_to(shop: Shop, rows: DatabaseReplicaStore) -> None:
    await shop.turn("old")
    shop.clock.advance(60)
    for name in ("t1", "t2", "t3"):
        await shop.turn(name)
    lately = await rows.changed_threads([ACME, TenantId("globex")], timedelta(seconds=10), 10)
    assert set(lately) == {key("t1"), key("t2"), key("t3")}
    assert lately == await rows.last_sequences(list(lately))
    assert len(await rows.changed_threads([ACME], timedelta(seconds=10), 2)) == 2


async def test_an_owner_finds_what_was_cancelled_elsewhere(shop: Shop) -> None:
    mine = await shop.owner("mine")
    await shop.owner("other")
    assert await shop.store.cancelled(WORKER) == frozenset()
    await shop.cancel(mine.claim.run_id)
    assert await shop.store.cancelled(WORKER) == {key("mine")}
    assert await shop.store.cancelled(OTHER) == frozenset()


async def test_whoever_takes_a_cancelled_run_from_its_owner_has_time_to_settle_it(shop: Shop) -> None:
    for worker in (WORKER, OTHER):
        await shop.store.renew_lease(worker, "here", 10 * LEASE)
    owner = await shop.owner()
    await shop.cancel(owner.claim.run_id)
    shop.clock.advance(GRACE / 1_000_000 + 1)
    assert await shop.store.sweep(GRACE) == 1
    claim = await shop.store.claim_thread(OTHER, ACME, ThreadId("t1"))
    assert claim is not None and claim.fence > owner.claim.fence
    assert await shop.store.sweep(GRACE) == 0
    assert (await shop.run(claim.run_id)).state is RunState.RUNNING
    shop.clock.advance(GRACE / 1_000_000 + 1)
    assert await shop.store.sweep(GRACE) == 1, "it may hang, too"
