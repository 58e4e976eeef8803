"""Cells side by side, each in a process of its own, from a copy of the sources that nobody changes meanwhile."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.faults.cells import Cell
from tests.faults.processes import ROOT, environment
from tests.faults.run_cell import Report


@dataclass(frozen=True)
class Order:
    """A cell to be carried out."""

    cell: Cell
    times: int
    seed: int
    source: Path
    """The product that is tested, perhaps with a planted fault; the suite is always the one that runs."""
    folder: Path
    mutant: str = ""
    attempt: int = 0
    within: float = 1_800.0
    """Seconds after which it is given up."""


async def carry_out(
    orders: Iterable[Order], jobs: int, begun: Callable[[Order], bool], told: Callable[[Order, Report], Order | None]
) -> int:
    """Carry out orders, `jobs` at a time; how many are left.

    `begun` hears of each before it begins, and says whether to go on at all; `told` of its end, and may give another
    order that is to come behind all others.
    """
    waiting = deque(orders)
    going_on = True

    async def work() -> None:
        nonlocal going_on
        while waiting and going_on:
            if not begun(waiting[0]):
                going_on = False
                return
            order = waiting.popleft()
            again = told(order, await _carry_out(order))
            if again is not None:
                waiting.append(again)

    async with asyncio.TaskGroup() as workers:
        for _ in range(jobs):
            workers.create_task(work())
    return len(waiting)


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
            said, _ = await asyncio.wait_for(process.communicate(), order.within)
        except TimeoutError:
            return Report(order.cell.full_name, order.seed, "BROKEN", f"not over after {order.within:.0f} s")
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if not said:
        why = (order.folder / "cell.err").read_text(errors="replace")[-2000:]
        return Report(order.cell.full_name, order.seed, "BROKEN", why)
    return Report(**json.loads(said))
