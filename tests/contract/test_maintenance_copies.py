"""Copies of a whole database: a dump is the same on either engine, a backup verifies, and a restore begins again."""

import gzip
import json
import sqlite3
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

import heddle_runtime.threads.events as e
from heddle_core.errors import IllegalTransition
from heddle_core.ids import RequestId, ThreadId
from heddle_database.dump import dump, examine
from heddle_database.tables import read_tables
from heddle_runtime.facade.commands import RequestKey
from heddle_runtime.facade.retention import RetentionPolicy
from heddle_runtime.facade.thread_commands import DeleteThread
from heddle_runtime.maintenance import copies
from heddle_runtime.maintenance.auditing import audit
from heddle_runtime.maintenance.databases import (
    Place,
    opened_for_reading,
    opened_for_writing,
    opened_sqlite,
    own_tables,
)
from heddle_runtime.store.retention import LogRetention
from heddle_runtime.store.store import Store
from heddle_runtime.store.thread_store import ThreadStore
from heddle_runtime.threads.fold_codec import encode
from tests.kit.log_life import redact, talk
from tests.kit.postgres import shared_server
from tests.kit.stores import ACME, ADA, LEASE, SHOPS, WORKER, Shop, sqlite_shop

MakePlace = Callable[[], Awaitable[Place]]


async def story(shop: Shop) -> None:
    """Threads in every state: trimmed, waiting, at work, with bytes of every kind."""
    await shop.store.renew_lease(WORKER, "here", LEASE)
    for thread_id in ("t1", "ta", "t-2", "t_3", "T2"):
        for number in range(3):
            owner = await shop.owner(thread_id, text=f"Grüße \u2028 {number} 🌦")
            await owner.say("ja")
            await owner.complete()
    await LogRetention(shop.store).trim(RetentionPolicy(keep_events=8, least=1), ACME, ThreadId("t1"))
    state = await shop.store.load_fold(ACME, ThreadId("T2"))
    await shop.store.store_snapshot(ACME, state, encode(state))
    await (await shop.owner("t4")).ask("q")
    await shop.owner("t5")
    await shop.turn("t5")
    await shop.store.secret("key")


@pytest_asyncio.fixture
async def empty_postgres() -> AsyncGenerator[MakePlace]:
    """Makes a new database on the server each time."""
    running = shared_server()
    made: list[str] = []

    async def make() -> Place:
        made.append(await running.create())
        return Place(url=running.url(made[-1]))

    yield make
    for name in made:
        await running.drop(name)


def names(folder: Path, part: str) -> list[str]:
    return [path.name for path in folder.iterdir() if part in path.name]


async def digest_of(place: Place) -> str:
    async with opened_for_reading(place) as database:
        found = await audit(database)
    assert not found.problems, found.problems
    return f"{found.threads} {found.events} {found.snapshots}"


@pytest.mark.parametrize("engine", SHOPS)
async def test_every_table_of_every_engine_is_dumped_the_same(engine: str, tmp_path: Path) -> None:
    async with SHOPS[engine](tmp_path) as shop:
        await story(shop)
        held = await dump(shop.database, tmp_path / "one.dump", await own_tables())
        await dump(shop.database, tmp_path / "two.dump", await own_tables())
        tables = {table.name for table in await read_tables(shop.database)}
    assert (tmp_path / "one.dump").read_bytes() == (tmp_path / "two.dump").read_bytes()
    assert set(held.rows) | set(held.revisions) == tables
    assert examine(tmp_path / "one.dump") == held
    assert held.rows["threads"] == 7 and held.rows["workers"] == 1 and held.rows["secrets"] == 1
    lines = [json.loads(line) for line in gzip.decompress((tmp_path / "one.dump").read_bytes()).splitlines()]
    assert lines[-1]["end"] == held.rows
    columns = next(list(line["columns"]) for line in lines if isinstance(line, dict) and line.get("table") == "threads")
    begin = next(place for place, line in enumerate(lines) if isinstance(line, dict) and line.get("table") == "threads")
    named = [line[columns.index("thread_id")] for line in lines[begin + 1 : begin + 8]]
    assert named == ["T2", "t-2", "t1", "t4", "t5", "t_3", "ta"], "in the order of bytes"


async def test_an_embedded_database_moves_to_postgresql_and_back_to_the_byte(
    tmp_path: Path, empty_postgres: MakePlace
) -> None:
    async with sqlite_shop(tmp_path) as shop:
        await story(shop)
        folds = {each: encode(await shop.store.load_fold(ACME, ThreadId(each))) for each in ("t1", "t4", "t5")}
    (tmp_path / "store.db").rename(tmp_path / "heddle.db")
    home, moved, back = Place(tmp_path), await empty_postgres(), Place(tmp_path / "back")
    await copies.dump(home, tmp_path / "1.dump")
    told: list[tuple[str, int, int]] = []
    held, verified = await copies.load(tmp_path / "1.dump", moved, lambda *each: told.append(each))
    assert not verified.problems and verified.threads == 7
    assert told and told[-1][1] == told[-1][2] == verified.events
    await copies.dump(moved, tmp_path / "2.dump")
    await copies.load(tmp_path / "2.dump", back)
    await copies.dump(back, tmp_path / "3.dump")
    first = (tmp_path / "1.dump").read_bytes()
    assert (tmp_path / "2.dump").read_bytes() == first
    assert (tmp_path / "3.dump").read_bytes() == first
    assert examine(tmp_path / "3.dump") == held
    assert await digest_of(home) == await digest_of(moved) == await digest_of(back)
    async with store_at(back) as store:
        for thread_id, fold in folds.items():
            assert encode(await store.load_fold(ACME, ThreadId(thread_id))) == fold


@asynccontextmanager
async def store_at(place: Place) -> AsyncGenerator[Store]:
    """The store of a database file."""
    async with opened_sqlite(place.file) as database:
        yield Store(database)


async def test_a_dump_is_loaded_into_nothing_but_an_empty_database(tmp_path: Path, empty_postgres: MakePlace) -> None:
    async with sqlite_shop(tmp_path) as shop:
        await story(shop)
        await dump(shop.database, tmp_path / "1.dump", await own_tables())
    (tmp_path / "store.db").rename(tmp_path / "heddle.db")
    with pytest.raises(IllegalTransition, match="there already"):
        await copies.load(tmp_path / "1.dump", Place(tmp_path))
    moved = await empty_postgres()
    name = moved.url.rpartition("/")[2]
    await shared_server().execute("CREATE TABLE of_another_service (id text PRIMARY KEY, at timestamptz)", name)
    await copies.load(tmp_path / "1.dump", moved)
    await copies.dump(moved, tmp_path / "same.dump")
    assert (tmp_path / "same.dump").read_bytes() == (tmp_path / "1.dump").read_bytes()
    with pytest.raises(IllegalTransition, match="not empty"):
        await copies.load(tmp_path / "1.dump", moved)
    with pytest.raises(IllegalTransition, match="there already"):
        await copies.dump(Place(tmp_path), tmp_path / "1.dump")
    with pytest.raises(IllegalTransition, match="missing"):
        await copies.dump(Place(tmp_path / "nowhere"), tmp_path / "2.dump")
    assert not names(tmp_path, ".part")


@pytest.mark.parametrize("damage", ["cut", "changed", "longer", "other", "newer"])
async def test_a_damaged_dump_is_refused_before_anything_is_written(tmp_path: Path, damage: str) -> None:
    async with sqlite_shop(tmp_path) as shop:
        await story(shop)
        await dump(shop.database, tmp_path / "1.dump", await own_tables())
    lines = gzip.decompress((tmp_path / "1.dump").read_bytes()).splitlines(keepends=True)
    match damage:
        case "cut":
            lines = lines[:-2]
        case "changed":
            place = next(place for place, line in enumerate(lines) if line.startswith(b"["))
            lines[place] = lines[place].replace(b"1", b"2")
        case "longer":
            lines.append(b"[]\n")
        case "other":
            lines = [b'{"hello": "world"}\n']
        case _:
            lines[0] = lines[0].replace(b'"heddle_dump":1', b'"heddle_dump":2')
    (tmp_path / "bad.dump").write_bytes(gzip.compress(b"".join(lines)))
    with pytest.raises(IllegalTransition, match="loaded"):
        await copies.load(tmp_path / "bad.dump", Place(tmp_path / "new"))
    assert not (tmp_path / "new" / "heddle.db").exists()
    (tmp_path / "text").write_text("no dump at all")
    with pytest.raises(IllegalTransition, match="loaded"):
        await copies.load(tmp_path / "text", Place(tmp_path / "new"))


async def test_a_dump_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    async with sqlite_shop(tmp_path) as shop:
        await shop.database.write(lambda tx: tx.run("UPDATE runtime_schema_version SET version_num = '9999'"))
        await dump(shop.database, tmp_path / "1.dump", await own_tables())
    with pytest.raises(IllegalTransition, match="newer"):
        await copies.load(tmp_path / "1.dump", Place(tmp_path / "new"))
    assert not (tmp_path / "new" / "heddle.db").exists()


async def test_a_backup_is_made_beside_the_process_that_writes(tmp_path: Path) -> None:
    async with sqlite_shop(tmp_path) as shop:
        await story(shop)
        (tmp_path / "heddle.db").symlink_to(tmp_path / "store.db")
        before = (await shop.fold("t5")).last_sequence
        made = await copies.back_up(Place(tmp_path), tmp_path / "backup.db")
        assert not made.audit.problems and made.audit.threads == 7
        await shop.turn("t5")
        assert (await shop.fold("t5")).last_sequence > before
        with pytest.raises(IllegalTransition, match="there already"):
            await copies.back_up(Place(tmp_path), tmp_path / "backup.db")
    assert names(tmp_path, "backup") == ["backup.db"]
    with sqlite3.connect(tmp_path / "backup.db") as copy:
        assert copy.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    copy.close()
    done = await copies.restore(tmp_path / "backup.db", Place(tmp_path / "new"))
    assert not done.audit.problems
    async with store_at(Place(tmp_path / "new")) as store:
        assert (await store.load_fold(ACME, ThreadId("t5"))).last_sequence == before


async def test_a_copy_holds_nothing_of_what_was_redacted_trimmed_or_deleted_before(tmp_path: Path) -> None:
    async with sqlite_shop(tmp_path) as shop:
        for thread_id, text in (("t1", "secret 4711 " * 900), ("t2", "4712 " * 900), ("t3", "4713 " * 900)):
            owner = await shop.owner(thread_id, text=text)
            await owner.say(f"I heard {text}")
            await owner.complete()
            state = await shop.store.load_fold(ACME, ThreadId(thread_id))
            await shop.store.store_snapshot(ACME, state, encode(state))
            await talk(shop, 3, thread_id)
        for message_id in ("said_1", "msg_1"):
            await redact(shop, message_id)
        key = RequestKey("DeleteThread", RequestId("d1"), b"")
        await ThreadStore(shop.store).delete_thread(DeleteThread(ADA, key, ThreadId("t2")))
        (tmp_path / "heddle.db").symlink_to(tmp_path / "store.db")
        assert not (await copies.back_up(Place(tmp_path), tmp_path / "backup.db")).audit.problems
    kept = (tmp_path / "backup.db").read_bytes()
    assert b"4713" in kept
    assert b"4711" not in kept
    assert b"4712" not in kept


async def facts_of(place: Place) -> tuple[int, int, int]:
    """Epoch, live workers, owned shards."""
    async with opened_for_writing(place) as database:
        return await database.read(
            lambda tx: tuple(
                tx.rows(f"SELECT {each}")[0][0]
                for each in (
                    "COALESCE(MAX(epoch), 1) FROM log_epoch",
                    "COUNT(*) FROM workers",
                    "COUNT(*) FROM relay_shards WHERE owner <> ''",
                )
            )
        )


async def test_a_restore_raises_the_epoch_each_time_and_ends_every_lease(tmp_path: Path) -> None:
    async with sqlite_shop(tmp_path) as shop:
        await story(shop)
        await shop.database.write(lambda tx: tx.run("INSERT INTO relay_shards (shard, owner) VALUES (99, 'wrk_1')"))
        await dump(shop.database, tmp_path / "1.dump", await own_tables())
    (tmp_path / "store.db").rename(tmp_path / "heddle.db")
    await copies.back_up(Place(tmp_path), tmp_path / "1.db")
    epochs = [1]
    for number, name in enumerate(("1.db", "1.dump")):
        place = Place(tmp_path / f"new{number}")
        done = await copies.restore(tmp_path / name, place)
        assert await facts_of(place) == (done.epoch, 0, 0)
        epochs += [done.epoch, await copies.raise_epoch(place)]
        assert epochs[-1] > epochs[-2] > 1
        with pytest.raises(IllegalTransition, match="there already"):
            await copies.restore(tmp_path / name, place)
        async with opened_for_writing(place):
            with pytest.raises(IllegalTransition, match="in use"):
                await copies.restore(tmp_path / name, place)


async def test_postgresql_is_backed_up_and_restored_by_dumps(tmp_path: Path, empty_postgres: MakePlace) -> None:
    async with SHOPS["sqlite"](tmp_path) as shop:
        await story(shop)
        await dump(shop.database, tmp_path / "1.dump", await own_tables())
    served, other = await empty_postgres(), await empty_postgres()
    await copies.load(tmp_path / "1.dump", served)
    made = await copies.back_up(served, tmp_path / "backup.dump")
    assert not made.audit.problems
    done = await copies.restore(tmp_path / "backup.dump", other)
    assert await facts_of(served) == (1, 1, 0)
    assert await facts_of(other) == (done.epoch, 0, 0) and done.epoch > 1


async def test_a_backup_of_a_file_does_not_go_to_postgresql(tmp_path: Path, empty_postgres: MakePlace) -> None:
    async with sqlite_shop(tmp_path):
        pass
    with pytest.raises(IllegalTransition, match="heddle dump"):
        await copies.restore(tmp_path / "store.db", await empty_postgres())


async def test_a_folder_that_a_crash_has_left_is_read_without_changing_its_log(tmp_path: Path) -> None:
    async with sqlite_shop(tmp_path) as shop:
        await story(shop)
        await shop.turn("t5")
        for end in ("", "-wal"):  # as kill -9 leaves it: with a log that nobody has copied back
            (tmp_path / f"heddle.db{end}").write_bytes((tmp_path / f"store.db{end}").read_bytes())
    log = (tmp_path / "heddle.db-wal").read_bytes()
    assert log
    async with opened_for_reading(Place(tmp_path)) as database:
        found = await audit(database)
        kinds = await database.read(lambda tx: tx.row("SELECT COUNT(*) FROM events WHERE thread_id = 't5'"))
    assert not found.problems and kinds == (5,)
    assert (tmp_path / "heddle.db-wal").read_bytes() == log


async def test_reading_beside_a_server_changes_nothing(tmp_path: Path) -> None:
    async with sqlite_shop(tmp_path) as shop:
        await story(shop)
        (tmp_path / "heddle.db").symlink_to(tmp_path / "store.db")
        async with opened_for_reading(Place(tmp_path)) as database:
            with pytest.raises(Exception, match="readonly"):
                await database.read(lambda tx: tx.run("DELETE FROM events"))
        owner = await shop.owner("t9")
        assert isinstance((await shop.events("t9"))[-1].payload, e.RunStarted) and owner
