"""`heddle doctor` tells what it finds, whatever that is: with a remedy, and never with a fault of its own."""

import json
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

import pytest_asyncio

from tests.kit.cli import start
from tests.kit.postgres import shared_server
from tests.kit.stores import migrated
from tests.kit.transaction_pooler import transaction_pooler

NOBODY = "127.0.0.1:1"


@pytest_asyncio.fixture(name="database")
async def created() -> AsyncGenerator[str]:
    """The name of a database of the runtime's."""
    name = await shared_server().create(await shared_server().template("runtime", migrated))
    yield name
    await shared_server().drop(name)


async def doctor(folder: Path, **env: str) -> tuple[int, Mapping[str, Mapping[str, Any]]]:
    """The exit code, and the findings by their subjects."""
    given = {"HEDDLE_ADDRESS": NOBODY, **env}
    process = await start("doctor", "--json", "--data-dir", str(folder), env=given, cwd=folder)
    out, err = await process.communicate()
    assert not err, err.decode()
    return process.returncode, {each["subject"]: each for each in json.loads(out)["findings"]}


async def test_a_database_behind_a_proxy_that_pools_by_transaction_answers(database: str, tmp_path: Path) -> None:
    async with transaction_pooler(shared_server().port) as pooler:
        _, found = await doctor(tmp_path, HEDDLE_DATABASE=shared_server().url(database, pooler.port))
    assert found["database"]["grade"] == "good", found["database"]
    assert pooler.refused == []


async def test_a_database_that_does_not_answer_is_a_finding(tmp_path: Path) -> None:
    code, found = await doctor(tmp_path, HEDDLE_DATABASE="postgresql://ada:secret@127.0.0.1:1/heddle")
    assert (code, found["database"]["grade"]) == (1, "bad")
    assert "that the server runs" in found["database"]["remedy"]
    assert "@127.0.0.1:1/heddle: PostgreSQL cannot be reached: " in found["database"]["found"]
    assert "secret" not in json.dumps(found)


async def test_a_database_that_heddle_would_not_open_is_a_finding(tmp_path: Path) -> None:
    await shared_server().execute("CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0")
    try:
        code, found = await doctor(tmp_path, HEDDLE_DATABASE=shared_server().url("ascii"))
    finally:
        await shared_server().drop("ascii")
    assert (code, found["database"]["grade"]) == (1, "bad")
    assert found["database"]["found"].endswith("/ascii is where server_encoding is SQL_ASCII instead of UTF8")
    assert found["database"]["remedy"] == "change that on the server"


async def test_tables_that_may_not_be_read_are_a_finding_too(database: str, tmp_path: Path) -> None:
    await shared_server().execute("CREATE ROLE passer LOGIN")
    try:
        url = shared_server().url(database).replace("postgres@", "passer@")
        code, found = await doctor(tmp_path, HEDDLE_DATABASE=url)
    finally:
        await shared_server().execute("DROP ROLE passer")
    assert (code, found["database"]["grade"], found["events"]["grade"]) == (1, "good", "bad")
    assert "denies access" in found["events"]["found"]
    assert "may read" in found["events"]["remedy"]
    assert found["server"]["grade"] == "note", "and what else there is to look at"


async def test_settings_that_do_not_fit_are_a_finding_and_the_rest_is_told_all_the_same(tmp_path: Path) -> None:
    code, found = await doctor(tmp_path, HEDDLE_DATABASE="mysql://ada:secret@127.0.0.1/heddle")
    assert (code, found["settings"]["grade"]) == (1, "bad")
    assert "HEDDLE_DATABASE" in found["settings"]["found"]
    assert "secret" not in json.dumps(found)
    assert found["server"]["grade"] == "note"
    code, found = await doctor(tmp_path, HEDDLE_TOOLS__CREDENTIALS="{no json, secret")
    assert (code, found["settings"]["grade"]) == (1, "bad")
    assert "HEDDLE_TOOLS__CREDENTIALS" in found["settings"]["found"]
    assert "secret" not in json.dumps(found)
