"""What every implementation of `heddle_database.port.Database` keeps. A new engine is one more `Engine` below."""

import asyncio
import os
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from heddle_core.clock import Micros
from heddle_core.errors import IllegalTransition, Overloaded, StoreUnavailable
from heddle_core.runtime_errors import RunNotFound
from heddle_database.port import Database, StatementFailed, Transaction
from tests.kit.databases import (
    Engine,
    Gate,
    Sqlite,
    create,
    insert,
    numbers,
    postgres,
    refuse,
    sqlite,
    together,
    wait_for,
)
from tests.kit.tasks import under_way

CHILD_ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


@pytest_asyncio.fixture(params=[sqlite, postgres])
async def engine(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Engine]:
    async with request.param(tmp_path) as made:
        yield made


@pytest.fixture
def file(tmp_path: Path) -> Sqlite:
    return Sqlite(tmp_path / "notes.db")


@pytest.fixture
async def database(engine: Engine) -> AsyncIterator[Database]:
    opened = await engine.open()
    await opened.write(create)
    yield opened
    await opened.close()


async def test_a_transaction_returns_rows_one_row_none_and_counts(database: Database) -> None:
    def operation(transaction: Transaction) -> tuple[object, ...]:
        transaction.many(
            "INSERT INTO notes (id, body) VALUES (:id, :body)",
            [{"id": number, "body": "old"} for number in (1, 2, 3)],
        )
        changed = transaction.run("UPDATE notes SET body = 'new' WHERE id > :id", id=1)
        returned = transaction.row("UPDATE notes SET body = 'newest' WHERE id = 3 RETURNING id, body")
        missing = transaction.row("SELECT 1 FROM notes WHERE id = :id", id=4)
        return changed, returned, missing, transaction.rows("SELECT body FROM notes ORDER BY id")

    assert await database.write(operation) == (2, (3, "newest"), None, [("old",), ("new",), ("newest",)])


async def test_operations_that_wait_together_share_one_commit_and_one_time(database: Database) -> None:
    def time_of(number: int) -> Callable[[Transaction], Micros]:
        def operation(transaction: Transaction) -> Micros:
            insert(number)(transaction)
            return transaction.now

        return operation

    before = database.statistics
    times = await together(database, *(time_of(number) for number in range(10)))
    after = database.statistics
    assert len(set(times)) == 1
    assert after.commits - before.commits == 1, "one for the ten; the gate changed nothing"
    assert after.operations - before.operations == 10
    assert after.batch_sizes[4] == 1, "one commit of 9 to 16 operations"
    assert after.waiting == 0


async def test_one_bad_operation_fails_alone_and_each_other_one_happens_once(database: Database) -> None:
    before = database.statistics.replays
    results = await together(database, insert(1), insert(2), insert(1), insert(3), insert(4))
    assert results[:2] == [1, 2]
    assert isinstance(results[2], StatementFailed)
    assert results[3:] == [3, 4]
    assert await database.read(numbers) == [1, 2, 3, 4]
    assert database.statistics.replays == before + 1


async def test_a_batch_where_all_are_bad_fails_each_and_changes_nothing(database: Database) -> None:
    def bad(transaction: Transaction) -> None:
        insert(1)(transaction)
        raise ZeroDivisionError

    results = await together(database, bad, bad, bad, bad)
    assert [type(result) for result in results] == [ZeroDivisionError] * 4
    assert await database.read(numbers) == []


async def test_a_refusal_before_any_change_costs_the_others_no_replay(database: Database) -> None:
    before = database.statistics.replays
    results = await together(database, insert(1), refuse, insert(2))
    assert results[0::2] == [1, 2]
    assert isinstance(results[1], RunNotFound)
    assert database.statistics.replays == before
    assert await database.read(numbers) == [1, 2]


async def test_a_refusal_after_a_change_takes_its_change_back(database: Database) -> None:
    def change_and_refuse(transaction: Transaction) -> None:
        insert(9)(transaction)
        refuse(transaction)

    results = await together(database, insert(1), change_and_refuse, insert(2))
    assert isinstance(results[1], RunNotFound)
    assert await database.read(numbers) == [1, 2]


async def test_an_operation_that_swallows_a_failed_statement_fails_all_the_same(database: Database) -> None:
    def swallow(transaction: Transaction) -> None:
        insert(2)(transaction)
        for attempt in (1, 3):
            try:
                insert(attempt)(transaction)
            except StatementFailed:
                continue

    await database.write(insert(1))
    with pytest.raises(StatementFailed):
        await database.write(swallow)
    assert await database.read(numbers) == [1], "neither what came before the failure nor what came after"


async def test_any_exception_of_an_operation_reaches_its_caller_and_the_writer_lives(database: Database) -> None:
    def stop(_transaction: Transaction) -> None:
        raise StopIteration

    with pytest.raises(RuntimeError, match="StopIteration"):
        await database.write(stop)
    with pytest.raises(RuntimeError, match="StopIteration"):
        await database.read(stop)
    assert await database.write(insert(1)) == 1
    assert await database.read(numbers) == [1]


async def test_on_commit_is_called_in_commit_order_before_any_caller_resumes(database: Database) -> None:
    seen: list[str] = []

    async def write(number: int) -> None:
        await database.write(insert(number), lambda result: seen.append(f"committed {result}"))
        seen.append("resumed")

    gate = Gate(database)
    await gate.closed()
    waiting = [await under_way(write(number)) for number in range(5)]
    await gate.open()
    await asyncio.gather(*waiting)
    assert seen == [f"committed {number}" for number in range(5)] + ["resumed"] * 5


async def test_on_commit_is_not_called_for_what_failed_and_its_own_fault_spoils_nothing(
    database: Database,
) -> None:
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: faults.append(context["exception"]))
    called: list[object] = []
    with pytest.raises(RunNotFound):
        await database.write(refuse, called.append)
    nothing: list[int] = []
    assert await database.write(insert(1), lambda number: print(nothing[number])) == 1
    assert called == []
    assert [type(fault) for fault in faults] == [IndexError]


async def test_a_cancelled_caller_stops_waiting_and_its_operation_happens(database: Database) -> None:
    committed: list[int] = []
    gate = Gate(database)
    await gate.closed()
    caller = await under_way(database.write(insert(1), committed.append))
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await gate.open()
    assert await database.write(insert(2)) == 2
    assert committed == [1]
    assert await database.read(numbers) == [1, 2]


async def test_a_read_keeps_its_snapshot_and_never_waits_for_the_writer(database: Database) -> None:
    await database.write(insert(1))
    first_look, go_on = threading.Event(), threading.Event()

    def look_twice(transaction: Transaction) -> tuple[list[int], list[int]]:
        first = numbers(transaction)
        first_look.set()
        wait_for(go_on)
        return first, numbers(transaction)

    reading = asyncio.ensure_future(database.read(look_twice))
    assert await asyncio.to_thread(first_look.wait, 30)
    await database.write(insert(2))
    go_on.set()
    assert await reading == ([1], [1])
    assert await database.read(numbers) == [1, 2]


brief_or_not = pytest.mark.parametrize("brief", [False, True], ids=["any", "brief"])


@brief_or_not
async def test_a_read_does_not_see_what_is_not_committed(database: Database, brief: bool) -> None:
    written, go_on = threading.Event(), threading.Event()

    def write_slowly(transaction: Transaction) -> None:
        insert(1)(transaction)
        written.set()
        wait_for(go_on)

    writing = asyncio.ensure_future(database.write(write_slowly, bulk=True))
    assert await asyncio.to_thread(written.wait, 30)
    assert await database.read(numbers, brief=brief) == []
    go_on.set()
    await writing
    assert await database.read(numbers, brief=brief) == [1]


@brief_or_not
async def test_a_read_that_writes_is_refused_and_changes_nothing(database: Database, brief: bool) -> None:
    with pytest.raises(StatementFailed):
        await database.read(insert(1), brief=brief)
    assert await database.read(numbers, brief=brief) == []


@brief_or_not
async def test_what_a_read_raises_reaches_its_caller_and_reading_goes_on(database: Database, brief: bool) -> None:
    def refuse(transaction: Transaction) -> None:
        numbers(transaction)
        raise LookupError("not there")

    for _ in range(5):
        with pytest.raises(LookupError, match="not there"):
            await database.read(refuse, brief=brief)
    assert await database.read(numbers, brief=brief) == []


async def test_a_full_queue_refuses_at_once_and_takes_more_when_it_has_drained(engine: Engine) -> None:
    database = await engine.open(queue_limit=2)
    await database.write(create)
    gate = Gate(database)
    await gate.closed()
    waiting = await under_way(database.write(insert(1)))
    with pytest.raises(Overloaded):
        await database.write(insert(2))
    await gate.open()
    assert await waiting == 1
    assert await database.write(insert(3)) == 3
    await database.close()


async def test_a_full_disk_refuses_what_does_not_fit_and_keeps_what_was_acknowledged(file: Sqlite) -> None:
    database = await file.open_small()
    await database.write(create)
    results = await together(database, insert(1), insert(2, "x" * 100_000), insert(3))
    assert results[0::2] == [1, 3]
    assert isinstance(results[1], StoreUnavailable)
    kept = [1, 3]
    with pytest.raises(StoreUnavailable):
        for number in range(4, 100):
            await database.write(insert(number, "x" * 1_000))
            kept.append(number)
    assert await database.read(numbers) == kept
    await database.write(lambda transaction: transaction.run("DELETE FROM notes WHERE id > 3"))
    assert await database.write(insert(200, "x" * 1_000)) == 200
    await database.close()


async def test_closing_settles_all_that_was_accepted_and_refuses_the_rest(engine: Engine) -> None:
    database = await engine.open()
    await database.write(create)
    writing = [asyncio.ensure_future(database.write(insert(number))) for number in range(600)]
    reading = asyncio.ensure_future(database.read(numbers))
    await asyncio.sleep(0)  # one turn of the loop: all of them have been asked for
    await asyncio.gather(database.close(), database.close())
    assert [await each for each in writing] == list(range(600))
    assert len(await reading) <= 600
    for refused in (database.write(create), database.read(numbers), database.read(numbers, brief=True)):
        with pytest.raises(StoreUnavailable):
            await refused
    again = await engine.open()
    assert await again.read(numbers) == list(range(600))
    await again.close()


async def test_a_second_opener_is_refused_until_the_first_has_closed(file: Sqlite) -> None:
    database = await file.open()
    with pytest.raises(IllegalTransition, match=rf"notes\.db.*in use by process {os.getpid()}.*stop that process"):
        await file.open()
    child = await asyncio.to_thread(run_child, file, "print('opened')")
    assert "in use by process" in child.stderr
    assert child.returncode == 1
    await database.close()
    child = await asyncio.to_thread(run_child, file, "await database.close(); print('opened')")
    assert child.stdout == "opened\n"


async def test_every_acknowledged_write_survives_a_kill(engine: Engine) -> None:
    prepared = await engine.open()
    await prepared.write(create)
    await prepared.close()
    body = (
        "    async def client(number):\n"
        "        while True:\n"
        "            await database.write(lambda t: t.run('INSERT INTO notes VALUES (:id, :b)', id=number, b=''))\n"
        "            os.write(1, b'%d\\n' % number)\n"
        "            number += 8\n"
        "    await asyncio.gather(*map(client, range(8)))\n"
    )
    child = start_child(engine, body)
    assert child.stdout is not None
    lines = [await asyncio.to_thread(child.stdout.readline) for _ in range(500)]
    child.kill()
    lines += await asyncio.to_thread(child.stdout.readlines)
    child.stdout.close()
    assert await asyncio.to_thread(child.wait) == -9
    present = await (database := await engine.open()).read(numbers)
    await database.close()
    assert {int(line) for line in lines if line.endswith(b"\n")} <= set(present)


def start_child(engine: Engine, body: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", child_source(engine, body)], env=CHILD_ENVIRONMENT, stdout=subprocess.PIPE
    )


def child_source(engine: Engine, body: str) -> str:
    return (
        "import asyncio, os\n"
        "from pathlib import Path\n"
        "from heddle_core.clock import SystemClock\n"
        "from heddle_database.postgres import PostgresDatabase\n"
        "from heddle_database.sqlite import SqliteDatabase\n"
        "async def main():\n"
        f"    database = await {engine.opening_source()}\n"
        f"    {body.strip()}\n"
        "asyncio.run(main())\n"
    )


def run_child(engine: Engine, body: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", child_source(engine, body)],
        env=CHILD_ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
    )
