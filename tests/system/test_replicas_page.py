"""The commands of the page about replicas, as they are written there, on three runtimes of the command line."""

import asyncio
import json
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.kit.cli import ROOT, environment
from tests.kit.nats import nats_server
from tests.kit.postgres import shared_server
from tests.kit.stores import migrated

BLOCK = re.compile(r"^```(sh|yaml) ([^\n]+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SETTING = re.compile(r"(HEDDLE_\w+)=(\S+)")
ADDRESS = re.compile(r"127\.0\.0\.1:730([1-3])")


def blocks() -> dict[str, list[str]]:
    """What stands in the page's blocks, by what is written above each."""
    found: dict[str, list[str]] = {}
    for _, told, block in BLOCK.findall((ROOT / "docs" / "replicas.md").read_text(encoding="utf-8")):
        found.setdefault(told, []).append(block)
    return found


@asynccontextmanager
async def shell(command: str, env: Mapping[str, str], folder: Path) -> AsyncGenerator[Process]:
    """A command in bash, and nothing of it left in the end."""
    tools = str(Path(sys.executable).parent)
    path = {"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    process = await asyncio.create_subprocess_exec(
        *("bash", "-c", command),
        env={**environment(path), **env},
        cwd=folder,
        stdout=PIPE,
        stderr=STDOUT,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_the_page_about_replicas_is_right(tmp_path: Path) -> None:
    page = blocks()
    (tmp_path / "story.yaml").write_text("".join(page["story.yaml"]))
    database = await shared_server().create(await shared_server().template("runtime", migrated))
    async with nats_server(tmp_path / "nats") as nats:
        env = dict(SETTING.findall("".join(page["settings"])))
        assert {"HEDDLE_DATABASE", "HEDDLE_NATS"} <= set(env)
        env["HEDDLE_DATABASE"] = shared_server().url(database)
        env["HEDDLE_NATS"] = ",".join(nats.endpoint().servers)
        env["HEDDLE_BUS__TOKEN"] = nats.endpoint().token
        serving = "".join(page["three terminals"]).splitlines()
        assert len(serving) == 3
        first, second, third = (f"exec env {ADDRESS.sub('127.0.0.1:0', command)}" for command in serving)
        async with (
            shell(first, env, tmp_path) as a,
            shell(second, env, tmp_path) as b,
            shell(third, env, tmp_path) as c,
        ):
            served = [await said(process) for process in (a, b, c)]
            script = "\n".join(("set -euo pipefail", f"FIRST={a.pid}", f"SECOND={b.pid}", *page["a fourth terminal"]))
            script = ADDRESS.sub(lambda found: served[int(found[1]) - 1][0], script)
            async with shell(script, env, tmp_path) as fourth:
                async with asyncio.timeout(120):
                    told = (await fourth.communicate())[0].decode()
                assert fourth.returncode == 0, told
            workers = [worker for _, worker in served]
            assert f"Worker {workers[1]} is at work on it" in told
            assert f"Worker {workers[2]} is at work on it" in told, "the only one that is left"
            assert "RUN_STATE_CANCELLED" in told
        seen = [json.loads(line) for line in (tmp_path / "seen.jsonl").read_text().splitlines()]
        facts = [event for frame in seen for event in frame.get("events", {}).get("events", ())]
        assert any("deltas" in frame for frame in seen)
        assert "run_cancelled" in facts[-1] and any("run_resumed" in event for event in facts)
    await shared_server().drop(database)


async def said(process: Process) -> tuple[str, str]:
    """Where a runtime serves, and under which worker id."""
    assert process.stdout is not None
    async with asyncio.timeout(90):
        async for line in process.stdout:
            with suppress(ValueError):
                told = json.loads(line)
                if "worker_id" in told:
                    return told["address"], told["worker_id"]
    raise AssertionError("it has ended without serving")
