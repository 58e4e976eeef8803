"""How cells break things: each function is phase one of a cell, with the crowd at work all the while."""

import asyncio
from collections.abc import Awaitable, Callable

from tests.faults import wrong_clock
from tests.faults.world import World

Breaking = Callable[[World, str, int], Awaitable[None]]
"""Takes the world, what the cell says beside its name, and how many times."""

_REACHED_WITHIN = 12.0
"""Seconds until an armed place must have been reached; then the process is killed wherever it is, and counted."""


def in_turn(*parts: tuple[Breaking, str, int]) -> Breaking:
    """Several ways to break things, one after the other in one world: what each is told, and how many times."""

    async def break_in_turn(world: World, _: str, __: int) -> None:
        for how, told, times in parts:
            await world.start()
            await how(world, told, times)

    return break_in_turn


async def kill_at(world: World, points: str, times: int) -> None:
    """Kill a node at a failpoint, at several in turns, again and again; another start finds what it left."""
    named = points.split(",")
    for turn in range(times):
        point = named[turn % len(named)]
        node = world.random.choice(world.nodes)
        if node.alive:
            node.kill()
        passes = (1, 2, 4) if len(named) > 1 else (1, 2, 4, 8, 16, 32, 48)
        await node.start(f"{point}:kill:{world.random.choice(passes)}")
        if not await node.ended(f"killed at {point}", _REACHED_WITHIN):
            world.missed += 1
            node.kill()
        world.kills += 1
        await _replace(world)


async def kill_at_any_time(world: World, _: str, times: int) -> None:
    """Kill a node at no place in particular."""
    for _ in range(times):
        await world.start()
        await asyncio.sleep(world.random.uniform(0.05, 1.0))
        world.random.choice(world.nodes).kill()
        world.kills += 1
        await _replace(world)


async def kill_in_drain(world: World, _: str, times: int) -> None:
    """Ask a node to stop, and kill it as it begins to; every second one may finish."""
    for turn in range(times):
        node = world.random.choice(world.nodes)
        if node.alive:
            node.kill()
        await node.start("drain:kill:1" if turn % 2 == 0 else "")
        await asyncio.sleep(world.random.uniform(0.3, 0.8))
        node.terminate()
        killed = turn % 2 == 0
        if not await node.ended("killed at drain" if killed else "drained", _REACHED_WITHIN * 2):
            world.supervisor.write("down", node=node.name, how="did not drain")
            node.kill()
        world.kills += killed
        await _replace(world)


async def freeze(world: World, _: str, times: int) -> None:
    """Stop a node past its lease and let it go on: it does not know that it has lost its runs."""
    for _ in range(times):
        await world.start()
        node = world.random.choice(world.nodes)
        await asyncio.sleep(world.random.uniform(0.1, 0.8))
        node.freeze()
        await asyncio.sleep(world.random.uniform(2.2, 3.5))
        node.thaw()
        world.kills += 1
        await asyncio.sleep(world.random.uniform(0.1, 0.6))


async def kill_in_migration(world: World, _: str, times: int) -> None:
    """Kill a node while it makes its tables, on an empty database each time; the next start finishes them."""
    fresh = world.extras["fresh_store"]
    for turn in range(times):
        node = world.nodes[0]
        if node.alive:
            node.kill()
        await fresh(world)
        served = await node.start(f"migration:kill:{1 + turn % 2}", must_serve=False)
        world.missed += served
        world.kills += not served
        if served:
            node.kill()
        await node.start()
        await world.crowd.furnish(world.extras["tools_at"])
        assert len(await world.crowd.start_one_by_one(3)) == 3, "tables that a kill interrupted take no turns"


async def set_clock(world: World, _: str, times: int) -> None:
    """Have the clock of the day jump ahead and back, with a kill every third time; then put it right."""
    file = world.folder / "clock"
    for turn in range(times):
        await world.start()
        await asyncio.sleep(world.random.uniform(0.1, 0.8))
        seconds = world.random.choice((-7_200, -3_600, -60, -2, 0, 2, 60, 3_600, 7_200))
        wrong_clock.set_clock(file, seconds)
        world.supervisor.write("clock_jump", seconds=seconds)
        world.kills += 1
        if turn % 3 == 2:
            world.random.choice(world.nodes).kill()
    wrong_clock.set_clock(file, 0)


async def leave_alone(world: World, _: str, times: int) -> None:
    """Break nothing for so many seconds: the suite must find nothing wrong where nothing was done."""
    await world.start()
    await asyncio.sleep(times)


async def _replace(world: World) -> None:
    """With one node the work goes on when it is back; with several the others take over, and it comes back later."""
    if len(world.nodes) == 1:
        return
    await asyncio.sleep(world.random.uniform(0.1, 0.8))
    await world.start()
