"""`heddle up` on servers that already run: a PostgreSQL, and a NATS that asks for a token."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats
import pytest

from heddle_bus import subjects
from heddle_bus.endpoint import read_endpoint
from heddle_bus.jetstream import JetStreamBus
from heddle_bus.port import Bus, StoredMessage
from tests.kit.cli import heddle, start, up
from tests.kit.nats import jetstream_bus, nats_server
from tests.kit.postgres import shared_server

pytestmark = pytest.mark.timeout(110)

MADE = f"$JS.EVENT.ADVISORY.STREAM.CREATED.{subjects.SIGNAL_STREAM}"
ALL = subjects.thread_events()
SLOW = """
turns:
  - steps:
      - text: "one two three four five six seven eight nine ten eleven twelve"
        stream: {delay_ms: 300}
"""


async def test_a_postgresql_and_a_nats_that_run_are_used_by_all_that_up_serves(tmp_path: Path) -> None:
    name = await shared_server().create()
    async with nats_server(tmp_path / "nats") as broker:
        endpoint = broker.endpoint()
        servers = ("--database", shared_server().url(name), "--nats", ",".join(endpoint.servers))
        env = {"HEDDLE_BUS__TOKEN": endpoint.token, "HEDDLE_BUS__BYTES_LIMIT": str(64 * 1024**2)}
        watcher = await nats.connect(list(endpoint.servers), token=endpoint.token)
        signals = await watcher.subscribe(MADE)
        await watcher.flush()
        async with up(*servers, "--data-dir", str(tmp_path / "data"), env=env) as (address, _):
            assert (await heddle("run", "hello", "--thread", "t1", address=address)).code == 0
            async with jetstream_bus(broker) as bus, bus.follow((subjects.thread_events(),), after=None) as following:
                async with asyncio.timeout(30):
                    first = await anext(following)
            assert isinstance(first, StoredMessage) and first.headers[subjects.SEQUENCE] == "1"
            await signals.next_msg(timeout=30)  # the campaign service beside it got in, too
        await watcher.close()
        assert not (tmp_path / "data" / "heddle.db").exists() and not (tmp_path / "data" / "nats").exists()
    tables = {row[0] for row in await shared_server().rows("SELECT tablename::text FROM pg_tables", name)}
    assert {"events", "spawns", "campaigns"} <= tables
    await shared_server().drop(name)


@pytest.mark.timeout(170)
async def test_two_that_share_a_database_and_no_nats_are_warned_and_go_on_until_one_takes_over(tmp_path: Path) -> None:
    name = await shared_server().create()
    server = ("--database", shared_server().url(name))
    scenario = tmp_path / "slow.yaml"
    scenario.write_text(SLOW)
    env = {"HEDDLE_LANES__LEASE": "PT2S", "HEDDLE_LANES__RENEW_EVERY": "PT0.5S", "TMPDIR": str(tmp_path)}
    env["HEDDLE_MODEL"] = f"scripted:{scenario}"
    one, another = (("--data-dir", str(tmp_path / folder)) for folder in ("one", "another"))
    async with up(*server, *one, env=env) as (first, process), up(*server, *another, env=env) as (second, later):
        warned = await told(later, "another NATS")
        assert "events are published there, and here to nobody" in warned["event"] and "--nats" in warned["remedy"]
        warned = await told(process, "another NATS")
        assert "events are published here, and there to nobody" in warned["event"]
        doctor = await start("doctor", "--json", env={"HEDDLE_DATABASE": server[1], "HEDDLE_ADDRESS": second})
        out, _ = await doctor.communicate()
        found = next(each for each in json.loads(out)["findings"] if each["subject"] == "events")
        assert found["grade"] == "bad" and "alone" in found["found"] and "HEDDLE_NATS" in found["remedy"]
        begun = (await heddle("run", "hello", "--no-wait", "--thread", "t1", "--json", address=first)).json
        watched = await heddle("watch", begun["run_id"], "--json", address=second)
        assert watched.code == 0 and "run_completed" in watched.out, "the sweep tells those who watch elsewhere"
        left = sockets_in(tmp_path)
        process.kill()
        async with jetstream_at(tmp_path / "another" / "nats") as bus, bus.follow((ALL,), after=None) as following:
            async with asyncio.timeout(30):
                event = await anext(following)
        assert isinstance(event, StoredMessage) and event.headers[subjects.SEQUENCE] == "1", "from the beginning"
        assert "on one NATS again" in (await told(later, "again"))["event"]
        async with up("--data-dir", str(tmp_path / "third"), "--no-nats", env=env):
            assert len(sockets_in(tmp_path) & left) == 1, "that of the one which lives"
    assert not sockets_in(tmp_path)
    await shared_server().drop(name)


def sockets_in(folder: Path) -> set[Path]:
    return set(folder.glob("heddle-inside-*"))


async def told(process: Any, words: str) -> Any:
    """The first line of a process's log that says so."""
    async with asyncio.timeout(30):
        while line := await process.stderr.readline():
            if words in line.decode():
                return json.loads(line)
    raise AssertionError(f"it ended without {words!r}")


@asynccontextmanager
async def jetstream_at(folder: Path) -> AsyncGenerator[Bus]:
    """A bus on the NATS that a `heddle up` has brought along, which leaves its stream as it is."""
    async with JetStreamBus(lambda: read_endpoint(folder / "endpoint.json"), keeps_stream=False) as bus:
        yield bus
