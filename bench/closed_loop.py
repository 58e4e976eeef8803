"""A closed loop, the same for all that is measured: so many clients, each asking again as soon as it was answered."""

import asyncio
import resource
import time
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

WARM_UP = 0.25
"""Part of the time that is played before the clock starts."""


class Problem(Exception):
    """What came back is not what had to come."""


class Played(NamedTuple):
    """One turn as its client saw it; times of perf_counter."""

    began: float
    first: float
    """When the first durable fact arrived."""
    ended: float
    frames: list[Any]
    fault: str = ""


def use_loop() -> None:
    """Clients run on uvloop, whatever the server does: what is measured is the server."""
    import uvloop

    uvloop.install()


def percentile(values: list[float], part: float) -> float:
    """The value below which `part` of the values lie; zero where there are none."""
    return sorted(values)[min(len(values) - 1, int(len(values) * part))] if values else 0.0


async def closed_loop(
    turn: Callable[[], Awaitable[Played]], check: Callable[[list[Any]], None], clients: int, seconds: float
) -> dict[str, Any]:
    """Play turns for `seconds` behind a warm-up, then check all that was played.

    A turn that fails is counted and its client goes on. Only turns that begin and end within the time count.
    """
    begin = time.perf_counter() + max(seconds * WARM_UP, 0.2)
    end = begin + seconds
    played: list[Played] = []
    faults: list[str] = []
    processor = 0.0

    async def client() -> None:
        while time.perf_counter() < end:
            try:
                played.append(await turn())
            except Exception as error:
                faults.append(f"{type(error).__name__}: {str(error)[:300]}")
                await asyncio.sleep(0.01)

    async def note_processor() -> None:
        nonlocal processor
        await asyncio.sleep(begin - time.perf_counter())
        before = _processor_seconds()
        await asyncio.sleep(end - time.perf_counter())
        processor = _processor_seconds() - before

    await asyncio.gather(note_processor(), *(client() for _ in range(clients)))
    for each in played:
        try:
            check(each.frames)
        except Problem as problem:
            faults.append(str(problem))
    counted = [each for each in played if begin <= each.ended < end]
    took = [each.ended - each.began for each in counted]
    return {
        "clients": clients,
        "seconds": seconds,
        "turns": len(counted),
        "played": len(played) + len(faults),
        "errors": len(faults),
        "problems": faults[:3],
        "per_second": len(counted) / seconds,
        "p50_ms": percentile(took, 0.5) * 1e3,
        "p99_ms": percentile(took, 0.99) * 1e3,
        "first_p50_ms": percentile([each.first - each.began for each in counted], 0.5) * 1e3,
        "frames": sum(len(each.frames) for each in counted) / max(len(counted), 1),
        "client_cpu_us": processor / max(len(counted), 1) * 1e6,
    }


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
