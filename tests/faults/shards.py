"""Cells side by side, each in a process of its own, from a copy of the sources that nobody changes meanwhile."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.cells import Cell
from tests.faults.processes import ROOT, environment
from tests.faults.run_cell import Report

_CELL_WITHIN = 1_800.0
"""Seconds after which a cell is given up."""


@dataclass(frozen=True)
class Order:
    """A cell to be carried out."""

    cell: Cell
    times: int
    seed: int
    source: Path
    folder: Path


async def carry_out(orders: Sequence[Order], jobs: int, told: Callable[[Order, Report], bool]) -> None:
    """Carry out orders, `jobs` at a time; `told` hears of each, and says whether to go on with others."""
    waiting = list(orders)
    going_on = True

    async def work() -> None:
        nonlocal going_on
        while waiting and going_on:
            order = waiting.pop(0)
            report = await _carry_out(order)
            going_on = told(order, report) and going_on

    async with asyncio.TaskGroup() as workers:
        for _ in range(jobs):
            workers.create_task(work())


def copy_sources(folder: Path, *, source: Path = ROOT) -> Path:
    """The sources as they are now, in a folder."""
    leave_out = shutil.ignore_patterns("__pycache__", "node_modules")
    for part in ("libs", "services", "examples"):
        shutil.copytree(source / part, folder / part, ignore=leave_out)
    return folder


async def _carry_out(order: Order) -> Report:
    order.folder.mkdir(parents=True, exist_ok=True)
    command = [
        *(sys.executable, "-m", "tests.faults.cell_process", order.cell.full_name),
        *("--times", str(order.times), "--seed", str(order.seed)),
        *("--folder", str(order.folder), "--source", str(order.source)),
    ]
    with (order.folder / "cell.err").open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *command,
            env=environment(ROOT),
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            start_new_session=True,  # so that it can be ended with all that it has started
        )
        try:
            said, _ = await asyncio.wait_for(process.communicate(), _CELL_WITHIN)
        except TimeoutError:
            return Report(order.cell.full_name, order.seed, "BROKEN", f"not over after {_CELL_WITHIN:.0f} s")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if not said:
        why = (order.folder / "cell.err").read_text(errors="replace")[-2000:]
        return Report(order.cell.full_name, order.seed, "BROKEN", why)
    return Report(**json.loads(said))
