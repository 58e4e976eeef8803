"""PostgreSQL behind a proxy that pools by transaction: two transactions in a row never have the same connection."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from heddle_core.clock import SystemClock
from heddle_core.errors import StoreUnavailable
from heddle_database.migrations import migrate
from heddle_database.opening import open_database
from heddle_database.port import Transaction
from heddle_database.postgres import PostgresDatabase
from heddle_database.postgres_options import PostgresOptions
from heddle_runtime.maintenance import copies
from heddle_runtime.maintenance.auditing import audit
from heddle_runtime.maintenance.databases import Place, opened_for_reading
from heddle_runtime.wiring.database import MIGRATIONS
from tests.kit.postgres import shared_server
from tests.kit.stores import migrated
from tests.kit.transaction_pooler import TransactionPooler, transaction_pooler

POOLED = PostgresOptions(prepared_statements=False)


@pytest_asyncio.fixture
async def pooler() -> AsyncGenerator[TransactionPooler]:
    async with transaction_pooler(shared_server().port) as made:
        yield made


@pytest_asyncio.fixture
async def url(pooler: TransactionPooler) -> AsyncGenerator[str]:
    """An empty database, behind the proxy."""
    name = await shared_server().create()
    yield shared_server().url(name, pooler.port)
    await shared_server().drop(name)


def insert(number: int):
    def operation(tx: Transaction) -> int:
        tx.run("INSERT INTO notes VALUES (:id, :body)", id=number, body=f"note {number}")
        tx.many("INSERT INTO marks VALUES (:id, :place)", [{"id": number, "place": place} for place in range(3)])
        return number

    return operation


async def test_writes_and_reads_need_nothing_of_the_connection_before(url: str, pooler: TransactionPooler) -> None:
    database = await PostgresDatabase.open(url, options=POOLED)
    await database.write(lambda tx: tx.run("CREATE TABLE notes (id BIGINT PRIMARY KEY, body TEXT NOT NULL)"))
    await database.write(lambda tx: tx.run("CREATE TABLE marks (id BIGINT, place BIGINT, PRIMARY KEY (id, place))"))
    for some in range(0, 60, 12):  # more writers and readers than there are connections
        await asyncio.gather(*(database.write(insert(some + each), affinity=f"t{each % 5}") for each in range(12)))
        counted = await asyncio.gather(
            *(database.read(lambda tx: tx.rows("SELECT COUNT(*) FROM notes WHERE id >= :id", id=0)) for _ in range(8))
        )
        assert counted == [[(some + 12,)]] * 8
    assert await database.read(lambda tx: tx.rows("SELECT COUNT(*) FROM marks")) == [(180,)]
    settings = "SELECT current_setting('synchronous_commit'), current_setting('lock_timeout')"
    assert [await database.write(lambda tx: tx.rows(settings)) for _ in range(4)] == [[("on", "5s")]] * 4
    assert pooler.transactions > 30 and pooler.refused == []
    await database.close()


async def test_with_statements_that_stay_prepared_it_is_refused_at_the_start(
    url: str, pooler: TransactionPooler
) -> None:
    with pytest.raises(StoreUnavailable, match="unsupported startup parameter"):
        await PostgresDatabase.open(url)
    assert pooler.refused


async def test_tables_are_made_by_whichever_of_several_comes_first(url: str) -> None:
    async with AsyncExitStack() as open_:
        replicas: list[PostgresDatabase] = []
        for _ in range(3):
            replica = await PostgresDatabase.open(url, options=POOLED)
            open_.push_async_callback(replica.close)
            replicas.append(replica)
        made = await asyncio.gather(*(migrate(each, MIGRATIONS) for each in replicas))
        assert len(set(made)) == 1 and made[0]


async def test_a_service_opens_its_database_there_when_it_is_told(url: str) -> None:
    opened = await open_database(
        MIGRATIONS,
        file=Path("never.db"),
        address=url,
        patience=timedelta(0),
        clock=SystemClock(),
        options=POOLED,
    )
    assert await opened.read(lambda tx: tx.rows("SELECT COUNT(*) FROM threads")) == [(0,)]
    await opened.close()


async def test_maintenance_needs_not_be_told(pooler: TransactionPooler, tmp_path: Path) -> None:
    server = shared_server()
    full, empty = await server.create(await server.template("runtime", migrated)), await server.create()
    try:
        place, other = Place(url=server.url(full, pooler.port)), Place(url=server.url(empty, pooler.port))
        await copies.dump(place, tmp_path / "1.dump")
        await copies.load(tmp_path / "1.dump", other)
        async with opened_for_reading(other) as database:
            assert (await audit(database)).problems == []
        await copies.dump(other, tmp_path / "2.dump")
        assert (tmp_path / "1.dump").read_bytes() == (tmp_path / "2.dump").read_bytes()
    finally:
        await server.drop(full)
        await server.drop(empty)
