"""How cells break the broker: killed, down for a while, wiped; with a consumer in between all the while."""

import asyncio

from tests.faults.broker import Broker
from tests.faults.world import World


async def kill_broker(world: World, _: str, times: int) -> None:
    """Kill it and start it again at once, on what it has written."""
    broker: Broker = world.extras["broker"]
    for _ in range(times):
        await asyncio.sleep(world.random.uniform(0.3, 1.0))
        broker.kill()
        world.kills += 1
        await broker.start()


async def take_broker_away(world: World, seconds: str, times: int) -> None:
    """Have no broker for so many seconds; turns go on."""
    broker: Broker = world.extras["broker"]
    for _ in range(times):
        await asyncio.sleep(world.random.uniform(0.5, 1.0))
        broker.kill()
        world.kills += 1
        await asyncio.sleep(float(seconds))
        await broker.start()


async def put_old_copy_back(world: World, _: str, times: int) -> None:
    """Copy what it has, go on, and put the copy in the place of what it has then: it has forgotten what was between."""
    broker: Broker = world.extras["broker"]
    for _ in range(times):
        broker.kill()
        broker.keep_copy()
        await broker.start()
        await asyncio.sleep(world.random.uniform(0.5, 2.0))
        broker.kill()
        broker.put_copy_back()
        world.kills += 1
        await broker.start()
        await asyncio.sleep(world.random.uniform(0.2, 1.0))


async def wipe_broker(world: World, _: str, times: int) -> None:
    """Lose all that it has, in the middle of things; every third time while a runtime is killed, too."""
    broker: Broker = world.extras["broker"]
    for turn in range(times):
        await asyncio.sleep(world.random.uniform(0.3, 1.0))
        broker.wipe()
        world.kills += 1
        if turn % 3 == 2:
            node = world.random.choice(world.nodes)
            node.kill()
            world.kills += 1
        await broker.start()
        await world.start()
