"""The spawn service's store, on every engine: keys, requests, guarded writes, what is due, lists."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from heddle_client.values import AssetReference, Bounds, InlineData, Json, Text
from heddle_core.changes import Changes
from heddle_core.clock import ManualClock, Micros
from heddle_core.errors import Conflict, InvalidField, RequestIdReused
from heddle_core.requests import RequestKey
from heddle_core.usage import Usage
from heddle_database.migrations import migrate
from heddle_database.port import Database
from heddle_database.postgres import PostgresDatabase
from heddle_database.sqlite import SqliteDatabase
from heddle_spawn.facade.ports import ListSpawns
from heddle_spawn.rules.spawns import (
    CancelPolicy,
    FanIn,
    Group,
    GroupSpec,
    Spawn,
    SpawnFailure,
    SpawnResult,
    Waiter,
)
from heddle_spawn.rules.states import GroupState, SpawnState, Stop, Told
from heddle_spawn.store.store import Store
from heddle_spawn.wiring import MIGRATIONS
from tests.kit.postgres import shared_server
from tests.kit.spawn_values import HERE, spawn_of, spec_of

SWEEP = timedelta(seconds=10)
DAY = 86_400
NOW = ManualClock().now()
FAR = Micros(NOW + 3600 * 1_000_000)
KEY = RequestKey("acme", "ada", "SpawnAgent", "req_1", b"body")


@asynccontextmanager
async def on_sqlite(folder: Path, clock: ManualClock) -> AsyncGenerator[Database]:
    database = await SqliteDatabase.open(folder / "spawn.db", clock=clock)
    await migrate(database, MIGRATIONS)
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def on_postgres(folder: Path, clock: ManualClock) -> AsyncGenerator[Database]:
    server = shared_server()
    name = await server.create(await server.template("spawn", _migrated))
    database = await PostgresDatabase.open(server.url(name), clock=clock)
    try:
        yield database
    finally:
        await database.close()
        await server.drop(name)


async def _migrated(url: str) -> None:
    database = await PostgresDatabase.open(url)
    await migrate(database, MIGRATIONS)
    await database.close()


ENGINES = {"sqlite": on_sqlite, "postgres": on_postgres}


@pytest.fixture(name="clock")
def stopped_clock() -> ManualClock:
    return ManualClock()


@pytest_asyncio.fixture(name="store", params=ENGINES)
async def opened(request: Any, tmp_path: Path, clock: ManualClock) -> AsyncGenerator[Store]:
    async with ENGINES[request.param](tmp_path, clock) as database:
        yield Store(database, SWEEP, Changes())


def child(key: str = "k", **fields: Any) -> Spawn:
    """A child as it is recorded: pending and due."""
    given: dict[str, Any] = {"create_time": NOW, "deadline_at": FAR, "due": NOW, **fields}
    return spawn_of(key, given.pop("state", SpawnState.PENDING), **given)


def group_with(*keys: str) -> tuple[Group, list[Spawn]]:
    stages = (tuple(spec_of(key) for key in keys[:-1]), (spec_of(keys[-1]),))
    group = Group("spg_1", HERE, GroupSpec("g", stages, FanIn.ANY), b"g", NOW, FAR, due=NOW)
    spawns = [
        child(key, group_id="spg_1", stage=0 if key != keys[-1] else 1, position=place, due=NOW)
        for place, key in enumerate(keys)
    ]
    return group, [replace(each, due=Micros(0)) if each.stage else each for each in spawns]


async def test_a_child_is_kept_with_everything_that_it_was_asked_and_did(store: Store) -> None:
    spec = spec_of(
        "k",
        context=(Json('{"a":1}'), Text("b")),
        budget=Bounds(1, 2, 3, 4),
        deadline=timedelta(seconds=90),
        cancel_policy=CancelPolicy.ABANDON,
        tools=("kit/*",),
        result_schema_json='{"type":"object"}',
        model="scripted:x",
        labels={"a": "b"},
    )
    told = child(
        spec=spec,
        origin=replace(HERE, waiter=Waiter("inp_1", "secret")),
        told=Told.NOT_YET,
        allowed_tools=("kit/a",),
    )
    await store.record(None, [told], None)
    assert await store.spawn("acme", told.spawn_id) == told
    changed = replace(
        told,
        state=SpawnState.COMPLETED,
        stop=Stop.NOT_NEEDED,
        told=Told.TOLD,
        turn=b"\0turn",
        granted=Bounds(0, 7, 8, 0),
        run_id="run_9",
        thread_id="thr_9",
        cursor=12,
        progress="thinks",
        result=SpawnResult((Text("x"), InlineData("a/b", b"\0", "n"), AssetReference("as_1")), "{}", 3),
        usage=Usage(1, 2, 3, 4, 5, 6, 7),
        start_time=Micros(NOW + 1),
        end_time=Micros(NOW + 2),
        due=Micros(0),
        tries=4,
    )
    saved = await store.save_spawn(told, changed)
    assert saved == replace(changed, revision=1)
    assert await store.spawn("acme", told.spawn_id) == saved
    assert await store.of_thread("acme", "thr_9") == (saved,)
    assert await store.of_thread("acme", "thr_1") == (saved,), "made from its parent's"
    assert await store.spawn("other", told.spawn_id) is None
    failed = await store.save_spawn(saved, replace(saved, failure=SpawnFailure("X", "y"), result=None))
    assert failed is not None
    assert await store.spawn("acme", told.spawn_id) == failed


async def test_a_group_is_kept_with_its_children_in_the_order_of_its_spec(store: Store) -> None:
    group, spawns = group_with("a", "b", "c")
    recorded = await store.record(None, spawns[::-1], group)
    assert recorded.new
    assert await store.group("acme", "spg_1") == group
    assert [each.spec.spawn_key for each in await store.members("acme", "spg_1")] == ["a", "b", "c"]
    assert await store.groups_of_root("acme", "run_1", 10) == (group,)


async def test_a_key_is_one_child_for_ever(store: Store) -> None:
    first = await store.record(KEY, [child()], None)
    again = await store.record(KEY, [child()], None)
    assert (first.new, again.new) == (True, False)
    assert first.spawns == again.spawns
    other_request = replace(KEY, request_id="req_2")
    assert not (await store.record(other_request, [child()], None)).new
    with pytest.raises(InvalidField, match="k names a child that was asked to do something else"):
        await store.record(None, [child(fingerprint=b"other")], None)
    group, spawns = group_with("x", "k")
    with pytest.raises(InvalidField, match=r"spec\.stages\[1\]\.children\[1\]\.spawn_key"):
        await store.record(None, spawns, group)
    assert await store.group("acme", "spg_1") is None
    assert await store.target_of(KEY) == "spn_k"
    with pytest.raises(RequestIdReused):
        await store.record(replace(KEY, fingerprint=b"other"), [child("new")], None)
    assert await store.spawn("acme", "spn_new") is None


async def test_many_who_record_one_key_at_once_find_one_child(store: Store) -> None:
    async def record(number: int) -> str:
        key = replace(KEY, request_id=f"req_{number}")
        try:
            return (await store.record(key, [child()], None)).spawns[0].spawn_id
        except Conflict:
            return (await store.record(key, [child()], None)).spawns[0].spawn_id

    assert await asyncio.gather(*(record(number) for number in range(20))) == ["spn_k"] * 20
    assert len(await store.open_under("acme", "run_1")) == 1


async def test_only_the_first_of_two_who_read_the_same_row_writes_it(store: Store) -> None:
    await store.record(None, [child()], None)
    read = await store.spawn("acme", "spn_k")
    assert read is not None
    first, second = await asyncio.gather(
        store.save_spawn(read, replace(read, progress="one")), store.save_spawn(read, replace(read, progress="two"))
    )
    assert (first is None) != (second is None)


async def test_what_is_due_is_taken_once_and_again_after_a_while_or_at_its_deadline(
    store: Store, clock: ManualClock
) -> None:
    soon = Micros(NOW + 3_000_000)
    await store.record(None, [child("a"), child("b", deadline_at=soon), child("later", due=Micros(NOW + 1))], None)
    taken = await store.take_due(10)
    assert {each.spec.spawn_key for each in taken.spawns} == {"a", "b"}
    assert taken.next_at == NOW + 1
    assert not (await store.take_due(10)).spawns
    clock.advance(1)
    assert [each.spec.spawn_key for each in (await store.take_due(10)).spawns] == ["later"]
    clock.advance(3)
    assert [each.spec.spawn_key for each in (await store.take_due(10)).spawns] == ["b"]
    clock.advance(6)
    assert [each.spec.spawn_key for each in (await store.take_due(1)).spawns] == ["a"]


async def test_a_group_is_rung_for_by_the_end_of_a_child_and_opens_and_stops_its_children(
    store: Store, clock: ManualClock
) -> None:
    group, spawns = group_with("a", "b", "c")
    await store.record(None, spawns, group)
    assert {each.spec.spawn_key for each in (await store.take_due(10)).spawns} == {"a", "b"}
    clock.advance(1)
    first = await store.spawn("acme", "spn_a")
    assert first is not None
    await store.save_spawn(first, replace(first, state=SpawnState.COMPLETED, due=Micros(0)))
    taken = await store.take_due(10)
    assert [each.group_id for each in taken.groups] == ["spg_1"]
    moved = await store.save_group(
        group, replace(group, current_stage=1), stop=Stop.NOT_NEEDED, stopped=["spn_a", "spn_b"]
    )
    assert moved is not None
    assert {each.spec.spawn_key: each.stop for each in (await store.take_due(10)).spawns} == {
        "b": Stop.NOT_NEEDED,
        "c": Stop.NONE,
    }
    ended = await store.save_group(moved, replace(moved, state=GroupState.COMPLETED, progress="p", tries=2))
    assert ended is not None
    assert await store.group("acme", "spg_1") == ended
    assert await store.save_group(group, replace(group, progress="late")) is None


async def test_a_cancelled_group_says_why_on_each_child_that_has_not_ended_for_another_reason(
    store: Store, clock: ManualClock
) -> None:
    group, spawns = group_with("a", "b", "c")
    await store.record(None, spawns, group)
    first, second = [await store.spawn("acme", f"spn_{key}") for key in "ab"]
    assert first is not None
    assert second is not None
    await store.save_spawn(first, replace(first, state=SpawnState.COMPLETED))
    await store.save_spawn(second, replace(second, stop=Stop.DEADLINE))
    why = SpawnFailure("CANCELLED", "ada cancelled it: sold out")
    (standing,) = (await store.take_due(10)).groups or (await store.group("acme", "spg_1"),)
    assert standing is not None
    clock.advance(1)
    assert await store.save_group(standing, replace(standing, stop=Stop.ASKED), cancelled=why) is not None
    told = {each.spec.spawn_key: (each.stop, each.failure) for each in await store.members("acme", "spg_1")}
    assert told == {"a": (Stop.NONE, None), "b": (Stop.DEADLINE, None), "c": (Stop.ASKED, why)}


async def test_children_are_listed_by_page_order_and_filter(store: Store) -> None:
    for number in range(5):
        made = child(f"k{number}", create_time=Micros(NOW + number // 2), agent_id="x" if number % 2 else "y")
        await store.record(None, [made], None)
    command = ListSpawns("acme", 2, newest_first=False)
    seen: list[str] = []
    while True:
        page = await store.page(command)
        seen += [each.spec.spawn_key for each in page[:2]]
        if len(page) <= 2:
            break
        command = replace(command, after=(page[1].create_time, page[1].spawn_id))
    assert seen == ["k0", "k1", "k2", "k3", "k4"]
    newest = await store.page(ListSpawns("acme", 9))
    assert [each.spec.spawn_key for each in newest] == seen[::-1]
    assert len(await store.page(ListSpawns("acme", 9, agent_id="x"))) == 2
    assert len(await store.page(ListSpawns("acme", 9, states=(SpawnState.PENDING, SpawnState.FAILED)))) == 5
    assert len(await store.page(ListSpawns("acme", 9, states=(SpawnState.FAILED,)))) == 0
    assert len(await store.page(ListSpawns("acme", 9, parent_run_id="run_1", root_run_id="run_1"))) == 5
    assert len(await store.page(ListSpawns("other", 9))) == 0
    assert len(await store.under_root("acme", "run_1", 3)) == 3


async def test_a_group_can_be_left_without_its_words(store: Store) -> None:
    group, spawns = group_with("a", "b")
    await store.record(None, spawns, group)
    await store.erase_group("acme", "spg_1")
    left = await store.group("acme", "spg_1")
    assert left is not None
    assert [[child.task for child in stage] for stage in left.spec.stages] == [[()], [()]]
    assert left.spec.stages[0][0].spawn_key == "a"
    await store.erase_group("acme", "spg_none")


async def test_a_cancel_is_remembered_under_its_request(store: Store) -> None:
    cancel = replace(KEY, method="CancelSpawn")
    await store.remember(cancel, "spn_k")
    await store.remember(cancel, "spn_k")
    assert await store.target_of(cancel) == "spn_k"
    assert await store.target_of(KEY) is None


async def test_old_requests_are_let_go_and_a_repeat_finds_the_child_by_its_key(
    store: Store, clock: ManualClock
) -> None:
    first = await store.record(KEY, [child()], None)
    await ended(store, first.spawns[0], clock)
    kept = timedelta(days=7)
    clock.advance(kept.total_seconds())
    assert await store.purge_requests(kept, 100) == 0
    clock.advance(1)
    assert await store.purge_requests(kept, 100) == 1
    assert await store.target_of(KEY) is None
    again = await store.record(KEY, [child()], None)
    assert not again.new
    assert again.spawns[0].spawn_id == first.spawns[0].spawn_id


async def ended(store: Store, spawn: Spawn, clock: ManualClock) -> None:
    done = replace(spawn, state=SpawnState.COMPLETED, end_time=clock.now(), due=Micros(0))
    assert await store.save_spawn(spawn, done) is not None


async def test_what_made_a_child_is_known_until_a_day_after_its_end(store: Store, clock: ManualClock) -> None:
    (spawn,) = (await store.record(KEY, [child()], None)).spawns
    await store.remember(replace(KEY, method="CancelSpawn"), spawn.spawn_id)
    clock.advance(5 * DAY)
    assert await store.purge_requests(timedelta(days=1), 100) == 0
    with pytest.raises(RequestIdReused):
        await store.record(replace(KEY, fingerprint=b"other"), [child("other")], None)
    await ended(store, spawn, clock)
    clock.advance(DAY - 1)
    assert await store.purge_requests(timedelta(days=1), 100) == 0
    clock.advance(1)
    assert await store.purge_requests(timedelta(days=1), 100) == 2


async def test_what_made_a_group_is_known_until_a_day_after_its_end(store: Store, clock: ManualClock) -> None:
    group, spawns = group_with("a", "b")
    await store.record(KEY, spawns, group)
    clock.advance(5 * DAY)
    assert await store.purge_requests(timedelta(days=1), 100) == 0
    assert await store.save_group(group, replace(group, state=GroupState.COMPLETED, end_time=clock.now())) is not None
    clock.advance(DAY - 1)
    assert await store.purge_requests(timedelta(days=1), 100) == 0
    clock.advance(1)
    assert await store.purge_requests(timedelta(days=1), 100) == 1
