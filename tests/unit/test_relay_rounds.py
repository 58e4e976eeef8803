"""A round of publishing that meets another stream than the one that was judged notes nothing of it."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest

from heddle_bus.observed import Observed
from heddle_bus.port import Acknowledgement, Bus, Connection, Progress, Publication
from heddle_core.clock import Micros
from heddle_core.errors import ServiceUnreachable
from heddle_core.ids import TenantId, ThreadId
from heddle_runtime.relay.marks import Marks
from heddle_runtime.relay.ports import Fact, Facts
from heddle_runtime.relay.rounds import Rounds

KEY = TenantId("acme"), ThreadId("t1")
CREATED = Micros(1)


class ReplacedBus:
    """A bus that is connected anew while it publishes: an old copy of its stream has taken the place of the first."""

    def __init__(self) -> None:
        self.connection = Observed(Connection(connected=True, durable=True, count=1))
        self.purged: list[int] = []
        self.place = 0

    async def publish_in_order(self, queues: Sequence[Sequence[Publication]]) -> list[Progress]:
        return [await self._progress(len(queue)) for queue in queues]

    async def publish(
        self, subject: str, payload: bytes, *, message_id: str, headers: Mapping[str, str]
    ) -> Acknowledgement:
        return cast(Acknowledgement, (await self._progress(1)).last)

    async def purge(self, pattern: str, *, before: int) -> int:
        self.purged.append(before)
        return 0

    async def _progress(self, stored: int) -> Progress:
        self.place += stored
        return Progress(stored, Acknowledgement(self.place, duplicate=False), None)

    def replace(self) -> None:
        self.connection.set(Connection(connected=True, durable=True, count=2))


def facts(*sequences: int) -> Facts:
    return Facts(KEY, tuple(fact(each) for each in sequences))


def fact(sequence: int) -> Fact:
    return Fact(sequence, "RunStarted", Micros(1), b"payload")


@pytest.fixture
def bus() -> ReplacedBus:
    return ReplacedBus()


def rounds(bus: ReplacedBus, marks: Marks) -> Rounds:
    return Rounds(cast(Bus, cast(Any, bus)), marks, log_epoch=1, created=CREATED, connection=1)


async def test_what_a_stream_took_that_nobody_judged_is_not_marked_though_its_places_rise(bus: ReplacedBus) -> None:
    marks = Marks()
    publishing = rounds(bus, marks)
    await publishing.publish([facts(1, 2, 3)])
    bus.replace()
    with pytest.raises(ServiceUnreachable):
        await publishing.publish([facts(4, 5)])
    assert marks.position(KEY) == 3


async def test_a_deletion_that_such_a_stream_took_purges_nothing(bus: ReplacedBus) -> None:
    publishing = rounds(bus, Marks())
    bus.replace()
    with pytest.raises(ServiceUnreachable):
        await publishing.publish_deletion(KEY, fact(6))
    assert bus.purged == []
