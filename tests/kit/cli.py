"""The command line as a process: what it prints, and how it exits."""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SCENARIOS = ROOT / "examples" / "scenarios"

_PATIENCE = 60
"""Seconds for one command: eight test processes may share two cores."""


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    paths = os.pathsep.join([str(ROOT / "libs"), str(ROOT / "services")])
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("HEDDLE_") and key != "MODEL"}
    inherited.pop("PYTHONDONTWRITEBYTECODE", None)
    # Compiled once for all processes of all tests: without it each of them takes seconds to import.
    cache = str(Path(tempfile.gettempdir()) / "heddle-tests-bytecode")
    return {**inherited, "PYTHONPATH": paths, "PYTHONPYCACHEPREFIX": cache, **(more or {})}


async def start(*arguments: str, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> Any:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "heddle_cli", *arguments),
        env=environment(env),
        cwd=cwd,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


async def heddle(*arguments: str, address: str = "", typed: str = "", cwd: Path | None = None) -> Answer:
    env = {"HEDDLE_ADDRESS": address} if address else {}
    process = await start(*arguments, env=env, cwd=cwd)
    async with asyncio.timeout(_PATIENCE):
        out, err = await process.communicate(typed.encode())
    return Answer(process.returncode, out.decode(), err.decode())


_UP = ("up", "--print-address", "--listen", "127.0.0.1:0")
_SETTINGS = {
    "HEDDLE_MODELS__SCENARIO_FOLDERS": json.dumps([str(SCENARIOS), str(ROOT / "tests" / "system" / "scenarios")])
}


@contextmanager
def shared_up() -> Generator[str]:
    """The address of a served Heddle that outlives a test's event loop."""
    command = [sys.executable, "-m", "heddle_cli", *_UP, "--ephemeral"]
    process = subprocess.Popen(command, env=environment(_SETTINGS), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["address"]
        finally:
            process.terminate()
            process.communicate(timeout=_PATIENCE)


@asynccontextmanager
async def up(*arguments: str, env: Mapping[str, str] | None = None) -> AsyncGenerator[tuple[str, Any]]:
    """A served Heddle: its address, and its process."""
    process = await start(*_UP, *arguments, env={**_SETTINGS, **(env or {})})
    try:
        async with asyncio.timeout(_PATIENCE):
            line = await process.stdout.readline()
        assert line, (await process.stderr.read()).decode()
        yield json.loads(line)["address"], process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()
