"""How cells break delegation: the spawn service and the runtime are killed in turns, and the broker is wiped."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from random import Random

from heddle.runtime.v1.run_pb2 import RunState
from tests.faults import programs
from tests.faults.broker import Broker
from tests.faults.delegating import delegators
from tests.faults.journal import Journal
from tests.faults.processes import Node, free_port
from tests.faults.world import World

ONE_PROCESS = "in one process"

POINTS = (
    "child_made",
    "parent_told",
    "child_done",
    "child_fixed",
    "child_end_recorded",
    "spawn_unanswered",
    "stage_opened",
    "group_end_recorded",
)
"""Kill points of the spawn service."""

RUNTIME_POINTS = ("committed_unanswered", "tool_done", "input_requested", "input_resolved", "terminal_committed")
"""Kill points of the runtime that lie on the way between a parent and its child."""

JOURNAL = "families.jsonl"
"""What was done to the spawn service. Not the supervisor's: that one says when a runtime served."""

_REACHED_WITHIN = 8.0
_ASKED_WITHIN = 20.0
_WORKS_WITHIN = 5.0
_SETTLES_WITHIN = 75.0
"""Seconds after which the cell gives up waiting; the promise is 60, and the checker holds it to that."""
SWEEP = (("SPAWN_SWEEP_EVERY", "PT2S"),)
"""So that nobody waits ten seconds for what no doorbell told."""


async def break_delegation(world: World, told: str, times: int) -> None:
    """Break something each time that so many more children were asked for; then see all of them to their ends.

    `told` is that number, and ONE_PROCESS behind it where the runtime serves spawn, too. Where each way comes at least
    once, a place that was not reached in time is tried again at the end.
    """
    count, _, composed = told.partition(" ")
    spawn = world.nodes[0] if composed else await _beside(world)
    async with delegators(world, spawn.address) as clients:
        await clients.furnish("" if composed else spawn.address)
        await clients.overreach()
        async with clients.at_work():
            ways = deque(WAYS[turn % len(WAYS)] for turn in range(times))
            again = len(POINTS) if times >= len(WAYS) else 0
            turn = 0
            while ways:
                way, missed = ways.popleft(), world.missed
                await clients.asked_for(int(count) * (turn + 1), _ASKED_WITHIN)
                await way(world, spawn, turn)
                await world.start()
                world.kills += 1
                turn += 1
                if world.missed > missed and again:
                    ways.append(way)  # a place that was not reached in time is tried once more
                    again -= 1
        await clients.settle(_SETTLES_WITHIN)


async def _beside(world: World) -> Node:
    """A spawn service in a process of its own, which is one of the world's nodes from now on."""
    port = free_port(world.random)
    given = dict(world.store.settings)
    settings = {
        "PROGRAM": programs.SERVE_SPAWN,
        "SPAWN_LISTEN": f"127.0.0.1:{port}",
        "SPAWN_DATA_DIR": given["DATA_DIR"],
        "SPAWN_DATABASE": given.get("DATABASE", ""),
        "SPAWN_RUNTIME__ADDRESS": world.nodes[0].address,
        **dict(SWEEP),
    }
    broker: Broker | None = world.extras["broker"]
    if broker is not None:
        settings["SPAWN_NATS"] = broker.url
    journal = Journal(world.folder / JOURNAL)
    node = Node("spawn", world.extras["zygote"], world.folder, settings, port, journal)
    world.nodes.append(node)
    await node.start()
    return node


async def _kill_spawn_at(world: World, spawn: Node, point: str) -> None:
    spawn.kill()
    await spawn.start(f"{point}:kill:{world.random.choice((1, 2, 4))}")
    if not await spawn.ended(f"killed at {point}", _REACHED_WITHIN):
        world.missed += 1
        spawn.kill()
    await asyncio.sleep(_while_away(world.random))


async def _kill_runtime_at(world: World, point: str) -> None:
    node = world.nodes[0]
    node.kill()
    await node.start(f"{point}:kill:{world.random.choice((1, 2, 4, 8))}")
    if not await node.ended(f"killed at {point}", _REACHED_WITHIN):
        world.missed += 1
        node.kill()


async def _kill_spawn(world: World, spawn: Node, _: int) -> None:
    await asyncio.sleep(world.random.uniform(0.0, 0.5))
    spawn.kill()
    await asyncio.sleep(_while_away(world.random))


async def _kill_runtime(world: World, _: Node, __: int) -> None:
    await asyncio.sleep(world.random.uniform(0.0, 0.5))
    await _until_a_run_is_under_way(world)
    world.nodes[0].kill()
    await asyncio.sleep(_while_away(world.random))


async def _until_a_run_is_under_way(world: World) -> None:
    """Wait until somebody must take over if the runtime is killed now, or for so long."""
    until = time.monotonic() + _WORKS_WITHIN
    while time.monotonic() < until:
        if await world.open_runs((RunState.RUN_STATE_RUNNING,)):
            break
        await asyncio.sleep(0.02)


async def _kill_both(world: World, spawn: Node, _: int) -> None:
    await asyncio.sleep(world.random.uniform(0.0, 0.5))
    await _until_a_run_is_under_way(world)
    for node in world.nodes:
        node.kill()
    if world.random.random() < 0.5:
        await spawn.start()  # before the runtime that it follows children in


async def _wipe_broker(world: World, spawn: Node, turn: int) -> None:
    broker: Broker | None = world.extras["broker"]
    if broker is None:
        await _kill_spawn(world, spawn, turn)
        return
    broker.wipe()
    await broker.start()


def _at(point: str) -> "_Way":
    async def kill(world: World, spawn: Node, _: int) -> None:
        await _kill_spawn_at(world, spawn, point)

    return kill


def _at_runtimes(point: str) -> "_Way":
    async def kill(world: World, _: Node, __: int) -> None:
        await _kill_runtime_at(world, point)

    return kill


def _while_away(random: Random) -> float:
    """How long nobody starts it again, in seconds."""
    return random.choice((0.0, 0.0, 0.3, 1.0))


_Way = Callable[[World, Node, int], Awaitable[None]]

WAYS: tuple[_Way, ...] = (
    _at(POINTS[0]),
    _kill_runtime,
    _wipe_broker,
    _at(POINTS[1]),
    _kill_both,
    _at(POINTS[2]),
    _at_runtimes(RUNTIME_POINTS[0]),
    _at(POINTS[3]),
    _at(POINTS[4]),
    _at_runtimes(RUNTIME_POINTS[1]),
    _at(POINTS[5]),
    _at_runtimes(RUNTIME_POINTS[2]),
    _at(POINTS[6]),
    _at_runtimes(RUNTIME_POINTS[3]),
    _at(POINTS[7]),
    _at_runtimes(RUNTIME_POINTS[4]),
    _kill_spawn,
)
"""In turns: each place of the spawn service, each of the runtime, both at any time, and the broker's disk.

Four rounds in each of two cells are eight attempts at each place on a store, of which five must come off.
"""

TIMES = 4 * len(WAYS)
"""In the full form."""
