"""A round of publishing leaves a stream alone that nobody has judged: an old copy would be left with a gap."""

from collections.abc import AsyncIterator

import pytest

from heddle_bus.memory import MemoryBus, MemoryServer
from heddle_core.clock import ManualClock
from heddle_core.errors import ServiceUnreachable
from heddle_core.ids import TenantId, ThreadId
from heddle_runtime.relay.marks import Marks
from heddle_runtime.relay.ports import Fact, Facts
from heddle_runtime.relay.rounds import Rounds

KEY = TenantId("acme"), ThreadId("t1")


def facts(*sequences: int) -> Facts:
    return Facts(KEY, tuple(fact(each) for each in sequences))


def fact(sequence: int) -> Fact:
    return Fact(sequence, "RunStarted", ManualClock().now(), b"payload")


@pytest.fixture
def server() -> MemoryServer:
    return MemoryServer(ManualClock())


@pytest.fixture
async def bus(server: MemoryServer) -> AsyncIterator[MemoryBus]:
    async with MemoryBus(server) as bus:
        yield bus


def rounds(bus: MemoryBus, marks: Marks) -> Rounds:
    connection = bus.connection.value.count
    return Rounds(bus, marks, log_epoch=1, created=ManualClock().now(), connection=connection)


def replace(server: MemoryServer) -> None:
    server.stop()
    server.wipe()
    server.start()


async def test_nothing_is_published_behind_a_connection_that_nobody_judged(
    server: MemoryServer, bus: MemoryBus
) -> None:
    marks = Marks()
    publishing = rounds(bus, marks)
    await publishing.publish([facts(1, 2, 3)])
    replace(server)
    with pytest.raises(ServiceUnreachable):
        await publishing.publish([facts(4, 5)])
    assert server.identity.last_sequence == 0, "4 and 5 would stand in front of 1"
    assert marks.position(KEY) == 3


async def test_a_deletion_is_not_told_there_and_purges_nothing(server: MemoryServer, bus: MemoryBus) -> None:
    publishing = rounds(bus, Marks())
    replace(server)
    kept = await bus.publish("heddle.v1.acme.threads.t1.RunStarted", b"of another relay", message_id="m1")
    with pytest.raises(ServiceUnreachable):
        await publishing.publish_deletion(KEY, fact(6))
    assert server.identity.last_sequence == kept.stream_sequence and server.stored(kept.stream_sequence)
