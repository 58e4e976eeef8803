"""Every service behind a proxy that pools by transaction, told so by its own variable."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

from tests.kit.cli import heddle
from tests.kit.postgres import shared_server
from tests.kit.spawn_process import ServiceProcess
from tests.kit.transaction_pooler import TransactionPooler, transaction_pooler

pytestmark = pytest.mark.timeout(110)


@pytest_asyncio.fixture
async def pooler() -> AsyncGenerator[TransactionPooler]:
    async with transaction_pooler(shared_server().port, connections=4) as made:
        yield made


async def test_runtime_spawn_and_campaign_serve_from_one_pooled_database(
    pooler: TransactionPooler, tmp_path: Path
) -> None:
    name = await shared_server().create()
    url = shared_server().url(name, pooler.port)

    async with AsyncExitStack() as open_:

        async def serve(module: str, prefix: str, **settings: str) -> ServiceProcess:
            given = {"DATABASE": url, "DATA_DIR": str(tmp_path / module), "LOG_LEVEL": "WARNING", **settings}

            def variables(address: str) -> dict[str, str]:
                return {f"{prefix}{key}": value for key, value in {**given, "LISTEN": address}.items()}

            process = ServiceProcess(module, tmp_path / f"{module}.log", variables)
            open_.push_async_callback(process.kill)
            await process.start()
            return process

        runtime = await serve("heddle_runtime", "HEDDLE_", POSTGRES__PREPARED_STATEMENTS="false")
        beside = {"RUNTIME__ADDRESS": runtime.address, "DATABASE_PREPARED_STATEMENTS": "false"}
        await serve("heddle_spawn", "HEDDLE_SPAWN_", **beside)
        await serve("heddle_campaign", "HEDDLE_CAMPAIGN_", **beside)
        for number in range(3):
            done = await heddle("run", "hello", "--thread", f"t{number}", address=runtime.address)
            assert done.code == 0, done.err
        listed = await heddle("verify", "--all", "--json", address=runtime.address)
        assert listed.code == 0 and len(listed.out.splitlines()) == 3
    assert pooler.refused == [] and pooler.transactions > 20
    await shared_server().drop(name)
