"""What PostgreSQL adds to the port: several writers, several processes, a server that goes and comes back."""

import asyncio
import signal
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
import pytest_asyncio
from sqlalchemy.util import await_only

from heddle_core.clock import ManualClock
from heddle_core.errors import IllegalTransition, StoreUnavailable
from heddle_database.port import Database, StatementFailed, Transaction
from heddle_database.postgres import PostgresDatabase
from heddle_database.postgres_options import PostgresOptions
from tests.kit.postgres import PostgresServer, shared_server
from tests.kit.tcp_proxy import TcpProxy, tcp_proxy

PROXIED = PostgresOptions(prepared_statements=False)
ONE_WRITER = PostgresOptions(writers=1, readers=1)


@pytest_asyncio.fixture
async def name() -> AsyncGenerator[str]:
    made = await shared_server().create()
    await shared_server().execute("CREATE TABLE notes (id BIGINT PRIMARY KEY, body TEXT NOT NULL)", made)
    yield made
    await shared_server().drop(made)


@pytest_asyncio.fixture
async def database(name: str) -> AsyncIterator[PostgresDatabase]:
    opened = await PostgresDatabase.open(shared_server().url(name))
    yield opened
    await opened.close()


@pytest_asyncio.fixture
async def proxy() -> AsyncGenerator[TcpProxy]:
    async with tcp_proxy(shared_server().port) as made:
        yield made


def insert(number: int, body: str = ""):
    def operation(tx: Transaction) -> int:
        tx.run("INSERT INTO notes VALUES (:id, :body)", id=number, body=body)
        return number

    return operation


def numbers(tx: Transaction) -> list[int]:
    return [number for (number,) in tx.rows("SELECT id FROM notes ORDER BY id")]


class Marks:
    """Numbers, and somebody who waits for more of them."""

    def __init__(self) -> None:
        self.numbers: list[int] = []
        self._more = asyncio.Condition()

    async def put(self, number: int) -> None:
        async with self._more:
            self.numbers.append(number)
            self._more.notify_all()

    async def grow(self, by: int) -> None:
        enough = len(self.numbers) + by
        async with asyncio.timeout(60), self._more:
            await self._more.wait_for(lambda: len(self.numbers) >= enough)


async def until_it_works(database: Database, number: int) -> int:
    """How often it took: as a caller would, who sends the same again."""
    for attempt in range(1, 1_000):
        try:
            await database.write(insert(number))
        except StoreUnavailable:
            await asyncio.sleep(0.02)  # the pause of a client that sends again: nothing tells it of the server's return
        except StatementFailed:
            return attempt  # it had happened, and nobody knew
        else:
            return attempt
    raise AssertionError("it never worked again")


# --- what is demanded ---


async def test_every_transaction_is_synchronous_and_bounded(database: PostgresDatabase) -> None:
    names = ("synchronous_commit", "lock_timeout", "idle_in_transaction_session_timeout", "transaction_isolation")

    def settings(tx: Transaction) -> list[str]:
        return [tx.rows("SELECT current_setting(:name)", name=name)[0][0] for name in names]

    assert await database.write(settings) == ["on", "5s", "10s", "read committed"]
    assert await database.read(settings) == ["on", "5s", "10s", "repeatable read"]


async def test_a_server_that_loses_acknowledged_writes_is_refused() -> None:
    careless = PostgresServer({"fsync": "off"})
    try:
        careless.start()
        with pytest.raises(IllegalTransition, match="fsync is off instead of on"):
            await PostgresDatabase.open(careless.url())
    finally:
        careless.remove()


async def test_a_database_that_is_missing_is_told_without_the_password() -> None:
    url = f"postgresql://postgres:secret@127.0.0.1:{shared_server().port}/missing"
    with pytest.raises(StoreUnavailable, match="missing") as told:
        await PostgresDatabase.open(url)
    assert "secret" not in str(told.value)


async def test_the_time_of_a_transaction_is_the_servers_or_the_given_clocks(name: str) -> None:
    ours = await PostgresDatabase.open(shared_server().url(name), clock=ManualClock(now=42))
    theirs = await PostgresDatabase.open(shared_server().url(name))
    assert await ours.write(lambda tx: tx.now) == await ours.read(lambda tx: tx.now) == 42

    def twice(tx: Transaction) -> tuple[int, int, int]:
        first = tx.now
        tx.rows("SELECT pg_sleep(0.01)")
        return first, tx.now, tx.rows("SELECT (extract(epoch FROM now()) * 1000000)::bigint")[0][0]

    for ask in (theirs.write, theirs.read):
        first, second, began = await ask(twice)
        assert first == second
        assert 0 <= first - began < 10_000_000
    await ours.close()
    await theirs.close()


async def test_values_that_do_not_fit_fail_their_statement_and_are_not_told(database: PostgresDatabase) -> None:
    for bad in (object(), 17, "secret\0", "secret\ud800"):
        with pytest.raises(StatementFailed, match="INSERT INTO notes") as told:
            await database.write(lambda tx, bad=bad: tx.run("INSERT INTO notes VALUES (1, :body)", body=bad))
        assert "secret" not in str(told.value)
    with pytest.raises(StatementFailed, match="no parameter 'body'"):
        await database.write(lambda tx: tx.run("INSERT INTO notes VALUES (1, :body)"))
    await database.write(insert(1, "secret"))
    with pytest.raises(StatementFailed, match="unique constraint") as told:
        await database.write(insert(1, "secret"))
    assert "secret" not in str(told.value)


# --- several writers ---


async def test_writes_of_one_affinity_keep_their_order_and_others_do_not_wait_for_them(
    database: PostgresDatabase,
) -> None:
    committed: list[tuple[str, int]] = []

    def note(affinity: str, number: int):
        return database.write(
            insert(number), lambda _: committed.append((affinity, number)), affinity=affinity, bulk=number % 7 == 0
        )

    await asyncio.gather(*(note(f"t{number % 5}", number) for number in range(200)))
    assert len(committed) == 200
    for thread in range(5):
        ours = [number for affinity, number in committed if affinity == f"t{thread}"]
        plain = [number for number in ours if number % 7]
        assert plain == sorted(plain)
    assert 5 < database.statistics.commits < 200, "they shared commits"


async def test_what_builds_on_another_writers_row_is_told_after_it(database: PostgresDatabase) -> None:
    await database.write(insert(0, "0"))
    seen: list[int] = []

    def count(tx: Transaction) -> int:
        row = tx.row(f"SELECT body FROM notes WHERE id = 0{tx.row_lock}")
        assert row is not None
        tx.run("UPDATE notes SET body = :body WHERE id = 0", body=str(int(row[0]) + 1))
        return int(row[0]) + 1

    await asyncio.gather(*(database.write(count, seen.append, affinity=f"{number}") for number in range(200)))
    assert seen == list(range(1, 201))


async def test_two_writers_that_wait_for_each_other_both_get_through(name: str) -> None:
    one, other = [
        await PostgresDatabase.open(shared_server().url(name), options=ONE_WRITER) for _ in range(2)
    ]  # two processes
    await one.write(lambda tx: tx.many("INSERT INTO notes VALUES (:id, '')", [{"id": 1}, {"id": 2}]))

    def take(first: int, second: int, body: str):
        def operation(tx: Transaction) -> int:
            for number in (first, second):
                tx.run("UPDATE notes SET body = body || :body WHERE id = :id", body=body, id=number)
                tx.rows("SELECT pg_sleep(0.05)")
            return first

        return operation

    results = await asyncio.gather(
        *(one.write(take(1, 2, "a"), bulk=True) for _ in range(3)),
        *(other.write(take(2, 1, "b"), bulk=True) for _ in range(3)),
    )
    assert results == [1, 1, 1, 2, 2, 2]
    rows = await one.read(lambda tx: tx.rows("SELECT body FROM notes"))
    assert [sorted(body) for (body,) in rows] == [list("aaabbb")] * 2
    assert (await shared_server().rows(f"SELECT deadlocks > 0 FROM pg_stat_database WHERE datname = '{name}'")) == [
        (True,)
    ]
    await one.close()
    await other.close()


async def test_whoever_comes_second_with_the_same_key_sees_what_the_first_wrote(name: str) -> None:
    one, other = [await PostgresDatabase.open(shared_server().url(name)) for _ in range(2)]

    def once(body: str):
        def operation(tx: Transaction) -> str:
            known = tx.row("SELECT body FROM notes WHERE id = 1")
            if known is not None:
                return known[0]
            tx.rows("SELECT pg_sleep(0.05)")
            tx.run("INSERT INTO notes VALUES (1, :body)", body=body)
            return body

        return operation

    results = await asyncio.gather(one.write(once("a")), other.write(once("b")))
    assert results in (["a", "a"], ["b", "b"])
    await one.close()
    await other.close()


async def test_a_lock_that_somebody_else_holds_is_waited_for_so_long_and_no_longer(name: str) -> None:
    hasty = replace(ONE_WRITER, lock_timeout=timedelta(milliseconds=50))
    database = await PostgresDatabase.open(shared_server().url(name), options=hasty)
    holder = await PostgresDatabase.open(shared_server().url(name), options=ONE_WRITER)
    await holder.write(insert(1))
    entered, go_on = asyncio.Event(), asyncio.Event()

    def hold(tx: Transaction) -> None:
        tx.run("UPDATE notes SET body = 'x'")
        entered.set()
        await_only(go_on.wait())

    taken = asyncio.ensure_future(holder.write(hold))
    await entered.wait()
    with pytest.raises(StoreUnavailable, match="holds a lock"):
        await database.write(lambda tx: tx.run("UPDATE notes SET body = 'y'"))
    go_on.set()
    await taken
    assert await database.write(lambda tx: tx.run("UPDATE notes SET body = 'y'")) == 1
    await database.close()
    await holder.close()


# --- a server that goes and comes back ---


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT])
async def test_a_server_restarted_under_load_loses_nothing_and_nobody_restarts_us(how: signal.Signals) -> None:
    server = PostgresServer()
    try:
        server.start()
        await server.execute("CREATE TABLE notes (id BIGINT PRIMARY KEY, body TEXT NOT NULL)")
        database = await PostgresDatabase.open(server.url())
        acknowledged, refused = Marks(), Marks()
        stopping = asyncio.Event()

        async def client(number: int) -> None:
            while not stopping.is_set():
                try:
                    await acknowledged.put(await database.write(insert(number), affinity=str(number % 8)))
                except StoreUnavailable:
                    await refused.put(number)
                number += 8

        async with asyncio.TaskGroup() as clients:
            for number in range(8):
                clients.create_task(client(number))
            for _ in range(2):
                await acknowledged.grow(50)
                await asyncio.to_thread(server.stop, how)
                await refused.grow(8)
                with pytest.raises(StoreUnavailable):
                    await database.read(numbers)
                server.start()
            await acknowledged.grow(50)
            stopping.set()
        assert set(acknowledged.numbers) <= set(await database.read(numbers))
        await database.close()
    finally:
        server.remove()


async def test_a_commit_whose_answer_is_lost_is_not_acknowledged_and_can_be_found(name: str, proxy: TcpProxy) -> None:
    database = await PostgresDatabase.open(shared_server().url(name, proxy.port), options=ONE_WRITER)
    told: list[int] = []
    cut = proxy.cut_answer_to(b"COMMIT\0")
    with pytest.raises(StoreUnavailable, match="may have happened"):
        await database.write(insert(1), told.append)
    await asyncio.wait_for(cut.wait(), 10)
    assert told == []
    assert await database.read(numbers) == [1], "it had happened"
    assert await until_it_works(database, 1) == 1
    assert await database.write(insert(2), told.append) == 2
    assert told == [2]
    await database.close()


async def test_connections_that_are_cut_are_replaced_without_anybody_noticing(name: str, proxy: TcpProxy) -> None:
    database = await PostgresDatabase.open(shared_server().url(name, proxy.port))
    await asyncio.gather(*(database.write(insert(number)) for number in range(8)))
    await asyncio.gather(*(database.read(numbers) for _ in range(8)))
    proxy.cut_all()
    await asyncio.gather(*(database.write(insert(number)) for number in range(8, 16)))
    assert await database.read(numbers) == list(range(16))
    await database.close()


async def test_a_server_that_cannot_be_reached_is_tried_again_later(name: str, proxy: TcpProxy) -> None:
    database = await PostgresDatabase.open(shared_server().url(name, proxy.port), options=ONE_WRITER)
    proxy.refusing = True
    proxy.cut_all()
    for _ in range(20):
        with pytest.raises(StoreUnavailable):
            await database.write(insert(1))
    proxy.refusing = False
    await until_it_works(database, 1)
    assert await database.read(numbers) == [1]
    await database.close()


async def test_a_server_that_says_nothing_any_more_is_given_up(name: str, proxy: TcpProxy) -> None:
    short = timedelta(milliseconds=500)
    hasty = replace(ONE_WRITER, silence_timeout=short, connect_timeout=short)
    database = await PostgresDatabase.open(shared_server().url(name, proxy.port), options=hasty)
    await database.write(insert(1))
    proxy.silent = True
    with pytest.raises(StoreUnavailable):
        await asyncio.wait_for(database.write(insert(2)), 20)
    proxy.silent = False
    proxy.cut_all()
    await until_it_works(database, 3)
    await database.close()


# --- behind a proxy that pools by transaction ---


async def test_without_prepared_statements_nothing_is_left_on_a_connection(name: str) -> None:
    database = await PostgresDatabase.open(shared_server().url(name), options=replace(PROXIED, writers=1, readers=1))
    for number in range(3):
        await database.write(insert(number))
    left = "SELECT (SELECT count(*) FROM pg_prepared_statements), current_setting('synchronous_commit')"
    assert await database.write(lambda tx: tx.rows(left)) == [(0, "on")]
    assert await database.read(lambda tx: tx.rows(left)) == [(0, "on")]
    (untouched,) = await shared_server().rows(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'heddle'", name
    )
    assert untouched == (0,), "no setting travels with the connection's start, which a proxy would refuse"
    await database.close()


async def test_a_change_of_the_schema_does_not_fail_who_knew_the_old_one(database: PostgresDatabase, name: str) -> None:
    def first(tx: Transaction) -> tuple[object, ...] | None:
        tx.run("UPDATE notes SET body = body")
        return tx.row("SELECT * FROM notes")

    await database.write(insert(1, "x"))
    for _ in range(8):
        assert await database.write(first) == (1, "x")
    await shared_server().execute("ALTER TABLE notes ADD COLUMN more BIGINT", name)
    for _ in range(8):
        assert await database.write(first) == (1, "x", None)
