"""Who publishes the events of a PostgreSQL, asked from outside and behind a proxy that pools by transaction."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from heddle_core.clock import Micros
from heddle_core.errors import StoreUnavailable
from heddle_core.ids import WorkerId
from heddle_database.postgres import PostgresDatabase
from heddle_runtime.maintenance.databases import opened_postgres
from heddle_runtime.maintenance.relays import relays_by_broker
from heddle_runtime.store.relay_store import DatabaseRelayStore
from heddle_runtime.store.store import Store
from tests.kit.postgres import shared_server
from tests.kit.stores import migrated
from tests.kit.transaction_pooler import transaction_pooler

LEASE = 600_000_000
"""Microseconds, by the server's clock: longer than a test may take."""
BRIEFLY = timedelta(seconds=5)


@asynccontextmanager
async def made(template: str = "") -> AsyncGenerator[str]:
    """The name of a database that goes with the block: empty, or the runtime's."""
    server = shared_server()
    name = await server.create(await server.template("runtime", migrated)) if template else await server.create()
    try:
        yield name
    finally:
        await server.drop(name)


async def publish(url: str, **streams: int) -> None:
    """Have a relay on each of these streams, of which the first is noted as the one that is published to."""
    database = await PostgresDatabase.open(url)
    try:
        rows = DatabaseRelayStore(store := Store(database, shared=True))
        for name, stream in streams.items():
            await store.renew_lease(WorkerId(name), f"of {name}", LEASE)
            await rows.stand(WorkerId(name), Micros(stream), sole_process=False)
        await rows.adopt(None, Micros(next(iter(streams.values()))))
    finally:
        await database.close()


async def test_who_publishes_comes_first_and_who_stands_elsewhere_behind() -> None:
    async with made("runtime") as name, transaction_pooler(shared_server().port) as pooler:
        async with opened_postgres(shared_server().url(name, pooler.port), patience=BRIEFLY) as database:
            assert await relays_by_broker(database) == (), "no runtime lives"
            await publish(shared_server().url(name), one=7, two=5, three=7)
            assert await relays_by_broker(database) == (("of one", "of three"), ("of two",))
        assert pooler.refused == []


async def test_a_database_without_the_tables_has_none() -> None:
    async with made() as name, opened_postgres(shared_server().url(name), patience=BRIEFLY) as database:
        assert await relays_by_broker(database) == ()


async def test_tables_that_may_not_be_read_are_trouble() -> None:
    server = shared_server()
    async with made("runtime") as name:
        await server.execute("CREATE ROLE stranger LOGIN")
        try:
            url = server.url(name).replace("postgres@", "stranger@")
            async with opened_postgres(url, patience=BRIEFLY) as database:
                with pytest.raises(StoreUnavailable, match="denies access"):
                    await relays_by_broker(database)
        finally:
            await server.execute("DROP ROLE stranger")
