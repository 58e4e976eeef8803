"""`heddle up` publishes: the example of a consumer, in a process of its own, sees every event through every death."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.kit.cli import ROOT, environment, heddle, start

EXAMPLE = ROOT / "examples" / "consume_events.py"
PAGE = ROOT / "docs" / "contract" / "consuming-events.md"


class Seen:
    """What the example has printed."""

    def __init__(self, process: Any) -> None:
        self.process = process
        self.events: dict[str, list[tuple[int, str]]] = {}

    async def until(self, thread: str, kind: str, count: int = 1) -> list[tuple[int, str]]:
        """Read until a thread has had so many events of a kind."""
        async with asyncio.timeout(90):
            while [each for _, each in self.events.get(thread, [])].count(kind) < count:
                line = await self.process.stdout.readline()
                assert line, (await self.process.stderr.read()).decode()
                at, sequence, seen = json.loads(line)
                self.events.setdefault(at, []).append((sequence, seen))
        return self.events[thread]


@asynccontextmanager
async def consumer(endpoint: str, places: Path, address: str) -> AsyncGenerator[Seen]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(EXAMPLE), endpoint, str(places), address),
        env=environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Seen(process)
    finally:
        process.kill()
        await process.communicate()


@asynccontextmanager
async def served(folder: Path, *options: str) -> AsyncGenerator[dict[str, Any]]:
    """`heddle up` on a folder that may hold what an earlier one left: its first line."""
    process = await start("up", "--print-address", "--listen", "127.0.0.1:0", "--data-dir", str(folder), *options)
    try:
        async with asyncio.timeout(60):
            line = await process.stdout.readline()
        assert line, (await process.stderr.read()).decode()
        yield json.loads(line)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


async def turn(address: str, thread: str) -> None:
    done = await heddle("run", "hello", "--thread", thread, address=address)
    assert done.code == 0, done.err


def server_pid(folder: Path) -> int:
    return int((folder / "nats" / "nats-server.pid").read_text())


def is_private(path: str) -> bool:
    return Path(path).stat().st_mode & 0o077 == 0


def sequences(events: list[tuple[int, str]]) -> list[int]:
    return [sequence for sequence, _ in events]


async def test_a_consumer_sees_every_event_once_through_the_death_of_nats_and_of_the_runtime(tmp_path: Path) -> None:
    folder, places = tmp_path / "data", tmp_path / "seen.db"
    async with served(folder) as first:
        assert re.fullmatch(r"nats://127\.0\.0\.1:\d+", first["nats"])
        endpoint = first["nats_endpoint"]
        assert is_private(endpoint), "the token is for the same user alone"
        async with consumer(endpoint, places, first["address"]) as seen:
            await turn(first["address"], "t1")
            await seen.until("t1", "run_completed")
            os.kill(server_pid(folder), signal.SIGKILL)
            await turn(first["address"], "t1")
            both = await seen.until("t1", "run_completed", 2)
            assert sequences(both) == list(range(1, len(both) + 1))
        await turn(first["address"], "t2")
        os.kill(first["pid"], signal.SIGKILL)
    async with served(folder) as second:
        assert second["worker_id"] != first["worker_id"]
        async with consumer(second["nats_endpoint"], places, second["address"]) as seen:
            await turn(second["address"], "t1")
            again = await seen.until("t1", "run_completed")
            assert sequences(again)[0] == len(both) + 1, "it goes on where it had stopped"
            other = await seen.until("t2", "run_completed")
            assert sequences(other) == list(range(1, len(other) + 1))


async def test_without_nats_nothing_is_started_and_what_was_committed_is_published_later(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    async with served(folder, "--no-nats") as alone:
        assert alone["nats"] == alone["nats_endpoint"] == ""
        await turn(alone["address"], "t1")
        assert not (folder / "nats").exists()
    async with (
        served(folder) as later,
        consumer(later["nats_endpoint"], tmp_path / "seen.db", later["address"]) as seen,
    ):
        events = await seen.until("t1", "run_completed")
        assert sequences(events) == list(range(1, len(events) + 1))


async def test_a_nats_that_runs_is_used_and_one_that_does_not_is_waited_for(tmp_path: Path) -> None:
    async with served(tmp_path / "a", "--nats", "nats://127.0.0.1:9") as waiting:
        assert waiting["nats"] == "nats://127.0.0.1:9"
        await turn(waiting["address"], "t1")
        assert not (tmp_path / "a" / "nats").exists()
    both = await heddle("up", "--nats", "nats://127.0.0.1:9", "--no-nats")
    assert both.code == 2 and "contradict" in both.err
    told = await heddle("up", "--print-config", "--no-nats")
    assert told.json["no_nats"] is True and told.json["nats"] == ""


def test_the_page_shows_the_example_as_it_is() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert blocks == [EXAMPLE.read_text()]
