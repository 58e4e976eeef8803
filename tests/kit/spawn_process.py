"""A spawn service or a runtime in a process of its own, on one folder and one port: killed, and started again."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]

_WITHIN = 60.0
"""Seconds for a start or an end. A machine that does other things beside may need several for what takes one."""


class ServiceProcess:
    """One server at a time. Use `spawn_process` or `runtime_process`, which end it."""

    def __init__(self, module: str, log: Path, variables: Callable[[str], Mapping[str, str]]) -> None:
        """`variables` gives those of the process for the address where it is to listen."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{probe.getsockname()[1]}"
        self.log = log
        self.starts = 0
        self._module = module
        self._process: asyncio.subprocess.Process | None = None
        self._environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("HEDDLE_")},
            "PYTHONPATH": os.pathsep.join([str(ROOT / "libs"), str(ROOT / "services")]),
            **variables(self.address),
        }

    async def start(self, failpoint: str = "") -> None:
        """Start it and wait until it serves; `failpoint` as in HEDDLE_FAILPOINT."""
        with self.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                self._module,
                env={**self._environment, "HEDDLE_FAILPOINT": failpoint},
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        self._process = process
        self.starts += 1
        assert process.stdout is not None
        async with asyncio.timeout(_WITHIN):
            line = await process.stdout.readline()
        assert line, self.log.read_text()
        assert json.loads(line)["address"] == self.address

    async def died(self) -> int:
        """Wait for its end; the signal that ended it, negative."""
        assert self._process is not None
        async with asyncio.timeout(_WITHIN):
            return await self._process.wait()

    async def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)
            await self.died()


@asynccontextmanager
async def spawn_process(folder: Path, runtime_address: str, **settings: str) -> AsyncGenerator[ServiceProcess]:
    """A spawn service that is not started yet; whatever runs in the end is killed. `settings` without their prefix."""

    def variables(address: str) -> dict[str, str]:
        return {
            "HEDDLE_SPAWN_DATA_DIR": str(folder / "spawn"),
            "HEDDLE_SPAWN_LISTEN": address,
            "HEDDLE_SPAWN_RUNTIME__ADDRESS": runtime_address,
            "HEDDLE_SPAWN_LOG_LEVEL": "WARNING",
            **{f"HEDDLE_SPAWN_{key}": value for key, value in settings.items()},
        }

    process = ServiceProcess("heddle_spawn", folder / "spawn.log", variables)
    try:
        yield process
    finally:
        await process.kill()


@asynccontextmanager
async def runtime_process(folder: Path, scenario: str) -> AsyncGenerator[ServiceProcess]:
    """A runtime whose model plays `scenario`, not started yet; whatever runs in the end is killed."""
    file = folder / "scenario.yaml"
    file.write_text(scenario)

    def variables(address: str) -> dict[str, str]:
        return {
            "HEDDLE_DATA_DIR": str(folder / "data"),
            "HEDDLE_LISTEN": address,
            "HEDDLE_MODEL": f"scripted:{file}",
            "HEDDLE_LOG_LEVEL": "WARNING",
        }

    process = ServiceProcess("heddle_runtime", folder / "runtime.log", variables)
    try:
        yield process
    finally:
        await process.kill()
