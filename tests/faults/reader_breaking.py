"""Readers that stall: what they do not read may cost the server no more than a bounded piece of memory each."""

import asyncio

from heddle.runtime.v1.thread_service_pb2 import WatchThreadRequest
from tests.faults.clients import Channels, Client
from tests.faults.workload import TENANTS
from tests.faults.world import World

READERS = 8
_TEXT = 250_000
"""Characters of a turn: eight of them are more than a transport's window and the megabyte of a queue."""
_TURNS = 8
_MEBIBYTES_A_READER = 2.0
"""One of the queue, one of the transport."""
_SLACK_MEBIBYTES = 8.0
_STALLS_FOR = 60.0

SETTINGS = (("TURNS__TEXT_CHARACTERS", "1000000"),)

_NARROW = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_536))
"""A transport that takes no more in advance than it must."""


async def stall_readers(world: World, _: str, times: int) -> None:
    """Have readers stop reading while much is written; then let them read on, and come back where they were cut."""
    await world.start()
    node = world.nodes[0]
    channels = Channels([node.address], _NARROW)
    try:
        await world.crowd.say_much(_TURNS, _TEXT)
        for turn in range(times):
            before = node.megabytes()
            await world.crowd.say_much(_TURNS, _TEXT)
            usual = max(0.0, node.megabytes() - before)
            thread_id = world.crowd.new_thread()
            await world.crowd.say_much(1, 10, thread_id)
            stalled, read_on = asyncio.Event(), asyncio.Event()
            readers = [_read(world, channels, f"slow-{turn}-{n}", thread_id, stalled, read_on) for n in range(READERS)]
            reading = [asyncio.create_task(each) for each in readers]
            async with asyncio.timeout(_STALLS_FOR):
                await stalled.wait()
                before = node.megabytes()
                await world.crowd.say_much(_TURNS, _TEXT, thread_id)
            grown = node.megabytes() - before
            read_on.set()
            for stream in await asyncio.gather(*reading):
                may = usual + READERS * _MEBIBYTES_A_READER + _SLACK_MEBIBYTES
                told = {"must_be_cut": True, "grown_megabytes": grown, "may_grow_megabytes": may}
                world.supervisor.write("slow_reader", stream=stream, **told)
            world.kills += 1
    finally:
        await channels.close()


async def _read(
    world: World, channels: Channels, name: str, thread_id: str, stalled: asyncio.Event, read_on: asyncio.Event
) -> str:
    """Read one frame, wait, read what is left until it ends; then read the rest anew. The name of the first stream."""
    client = Client(name, TENANTS[0], "ann", channels, world.crowd.journal)
    request = WatchThreadRequest(thread_id=thread_id)
    stream, cursor, _ = await client.read(
        0, "threads", "WatchThread", request, after=0, seconds=_STALLS_FOR, stall=(stalled, read_on)
    )
    request = WatchThreadRequest(thread_id=thread_id, after_sequence=cursor)
    await client.read(0, "threads", "WatchThread", request, after=cursor, follows=stream, seconds=1.5)
    return stream
