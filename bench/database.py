"""How fast the write path of one database is, beside what its disk and its driver could do.

    PYTHONPATH=.:libs python bench/database.py [--folder DIR] [--statements] [--busy] [--postgres]

Prints the floor of the disk (one 8 KiB write and fdatasync over a preallocated file), then for 1, 16, 64 and 256
concurrent writers the operations per second, their latency and what each takes of the processors (both threads
together; the figure that a busy machine spoils least), with synchronous=FULL. Two shapes of operation:
`log` inserts one row at the end of a table; `event` raises a counter per thread, reads it back and inserts a row under
a unique index, which is what an append to a thread costs at least.

--statements compares SQLAlchemy's `exec_driver_sql` with the driver's connection of the same pool.
--busy adds a task that keeps the event loop fully busy, in steps of 1 ms, for several of Python's thread switch
intervals: this is what a loaded server looks like to the writer's thread.
--postgres measures the same writes on a PostgreSQL of the tests' wheel, with fsync, on this machine; before them the
floor that its driver sets: commits of one row and rows in batches, on one bare connection and on 16.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import sqlalchemy

from heddle_core.clock import SystemClock
from heddle_database.port import Database, Transaction
from heddle_database.sqlite import SqliteDatabase
from heddle_database.sqlite_connection import HeldConnection, SqliteFile, SqliteOptions, writing

TABLES = (
    "CREATE TABLE log (id INTEGER PRIMARY KEY, payload BLOB)",
    "CREATE TABLE threads (id TEXT PRIMARY KEY, last_sequence INTEGER NOT NULL)",
    "CREATE TABLE events (thread_id TEXT, sequence INTEGER, payload BLOB, PRIMARY KEY (thread_id, sequence))",
)
INSERT_LOG = "INSERT INTO log (payload) VALUES (:payload)"
RAISE = (
    "INSERT INTO threads (id, last_sequence) VALUES (:id, 1)"
    " ON CONFLICT (id) DO UPDATE SET last_sequence = threads.last_sequence + 1 RETURNING last_sequence"
)
INSERT_EVENT = "INSERT INTO events (thread_id, sequence, payload) VALUES (:id, :sequence, :payload)"
PAYLOAD = b"x" * 200
Operation = Callable[[Transaction], object]


def log(_writer: int) -> Operation:
    return lambda transaction: transaction.run(INSERT_LOG, payload=PAYLOAD)


def event(writer: int) -> Operation:
    thread = f"thread-{writer:04}"

    def operation(transaction: Transaction) -> int:
        row = transaction.row(RAISE, id=thread)
        assert row is not None
        transaction.run(INSERT_EVENT, id=thread, sequence=row[0], payload=PAYLOAD)
        return row[0]

    return operation


def percentile(values: list[float], part: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def measure_disk(folder: Path, rounds: int = 1_000) -> None:
    path = folder / "floor"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    os.pwrite(descriptor, b"\0" * 8192 * rounds, 0)
    os.fsync(descriptor)
    times: list[float] = []
    for place in range(rounds):
        start = time.perf_counter()
        os.pwrite(descriptor, b"y" * 8192, place * 8192)
        os.fdatasync(descriptor)
        times.append(time.perf_counter() - start)
    os.close(descriptor)
    path.unlink()
    print(
        f"disk: write + fdatasync p50 {percentile(times, 0.5) * 1e6:.0f} us, p99 {percentile(times, 0.99) * 1e6:.0f} us"
    )


async def opened(folder: Path) -> SqliteDatabase:
    database = await SqliteDatabase.open(Path(tempfile.mkdtemp(dir=folder)) / "bench.db", clock=SystemClock())

    def create(transaction: Transaction) -> None:
        for table in TABLES:
            transaction.run(table)

    await database.write(create)
    return database


async def load(database: Database, shape: Callable[[int], Operation], writers: int, each: int) -> str:
    latencies: list[float] = []

    async def write(number: int) -> None:
        operation = shape(number)
        for _ in range(each):
            start = time.perf_counter()
            await database.write(operation, affinity=f"thread-{number:04}")
            latencies.append(time.perf_counter() - start)

    before = database.statistics
    start, spent = time.perf_counter(), time.process_time()
    await asyncio.gather(*map(write, range(writers)))
    seconds, spent = time.perf_counter() - start, time.process_time() - spent
    batch = writers * each / (database.statistics.commits - before.commits)
    return (
        f"{writers * each / seconds:7.0f}/s  p50 {percentile(latencies, 0.5) * 1e3:6.2f} ms"
        f"  p99 {percentile(latencies, 0.99) * 1e3:6.2f} ms  batch {batch:3.0f}"
        f"  cpu {spent / (writers * each) * 1e6:.0f} us"
    )


async def measure_writes(folder: Path) -> None:
    for shape in (log, event):
        database = await opened(folder)
        for writers, each in ((1, 2_000), (16, 1_000), (64, 1_000), (64, 1_000), (256, 300)):
            print(f"{shape.__name__:6} c={writers:<4} {await load(database, shape, writers, each)}", flush=True)
        await database.close()


async def measure_postgres(folder: Path | None) -> None:
    from heddle_database.postgres import PostgresDatabase
    from tests.kit.postgres import PostgresServer

    server = PostgresServer(folder=folder)
    try:
        server.start()
        await measure_driver(server.url())
        for shape in (log, event):
            database = await PostgresDatabase.open(server.url(await server.create()))

            def create(transaction: Transaction) -> None:
                for table in TABLES:
                    transaction.run(table.replace("id INTEGER", "id BIGSERIAL").replace("BLOB", "BYTEA"))

            await database.write(create)
            for writers, each in ((1, 500), (16, 200), (64, 100), (256, 30)):
                print(f"{shape.__name__:6} c={writers:<4} {await load(database, shape, writers, each)}", flush=True)
            await database.close()
    finally:
        server.remove()


async def measure_driver(url: str) -> None:
    import asyncpg

    connections = [await asyncpg.connect(url) for _ in range(16)]
    await connections[0].execute("CREATE TABLE floor (id BIGSERIAL PRIMARY KEY, payload BYTEA)")
    insert = "INSERT INTO floor (payload) VALUES ($1)"

    async def commit(connection: asyncpg.Connection, times: int) -> None:
        for _ in range(times):
            await connection.execute(insert, PAYLOAD)

    for several, times in ((1, 1_000), (16, 200)):
        start = time.perf_counter()
        await asyncio.gather(*(commit(connection, times) for connection in connections[:several]))
        seconds = time.perf_counter() - start
        print(f"driver: {several * times / seconds:6.0f} commits/s of one row on {several} connections", flush=True)
    start = time.perf_counter()
    for _ in range(100):
        await connections[0].executemany(insert, [(PAYLOAD,)] * 100)
    seconds = time.perf_counter() - start
    print(f"driver: {10_000 / seconds:6.0f} rows/s, 100 in a commit", flush=True)
    for connection in connections:
        await connection.close()


async def measure_busy(folder: Path) -> None:
    database = await opened(folder)
    stopped = asyncio.Event()

    async def spin() -> None:
        while not stopped.is_set():
            end = time.perf_counter() + 0.001
            while time.perf_counter() < end:
                pass
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(spin())
        for interval in (0.005, 0.001, 0.0001):
            sys.setswitchinterval(interval)
            for writers, each in ((1, 100), (32, 50)):
                line = await load(database, event, writers, each)
                print(f"busy loop, switch interval {interval * 1e3:3.1f} ms  c={writers:<3} {line}", flush=True)
        stopped.set()
    await database.close()


def measure_statements(folder: Path, rounds: int = 20_000) -> None:
    file = SqliteFile(Path(tempfile.mkdtemp(dir=folder)) / "statements.db")
    held = HeldConnection(file, writing(SqliteOptions(), file.free_pages()))
    driver = held.driver()
    engine = sqlalchemy.create_engine("sqlite://", creator=lambda: driver, poolclass=sqlalchemy.StaticPool)
    connection = engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    for table in TABLES:
        driver.execute(table)

    def through_driver(number: int) -> None:
        id_ = f"thread-{number % 64}"
        sequence = driver.execute(RAISE, {"id": id_}).fetchone()[0]
        driver.execute(INSERT_EVENT, {"id": id_, "sequence": sequence, "payload": PAYLOAD})

    def through_sqlalchemy(number: int) -> None:
        id_ = f"thread-{number % 64}"
        sequence = connection.exec_driver_sql(RAISE, {"id": id_}).scalar_one()
        connection.exec_driver_sql(INSERT_EVENT, {"id": id_, "sequence": sequence, "payload": PAYLOAD})

    for operation in (through_driver, through_sqlalchemy, through_driver, through_sqlalchemy):
        driver.execute("BEGIN IMMEDIATE")
        start = time.perf_counter()
        for number in range(rounds):
            operation(number)
        seconds = time.perf_counter() - start
        driver.execute("COMMIT")
        print(f"{operation.__name__:20} {seconds / rounds * 1e6:6.1f} us per event operation, without commit")
    held.drop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="where the databases are made; default: the temporary folder")
    parser.add_argument("--statements", action="store_true")
    parser.add_argument("--busy", action="store_true")
    parser.add_argument("--postgres", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        measure_disk(folder)
        if arguments.statements:
            measure_statements(folder)
        elif arguments.postgres:
            asyncio.run(measure_postgres(arguments.folder))
        elif arguments.busy:
            asyncio.run(measure_busy(folder))
        else:
            asyncio.run(measure_writes(folder))


if __name__ == "__main__":
    main()
