"""The small parts under every bus: mailbox, observed value, resuming, and the order of a queue after a fault."""

import asyncio
from collections.abc import Mapping
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heddle_bus import subjects
from heddle_bus.mailbox import Mailbox
from heddle_bus.memory import MemoryBus, MemoryServer
from heddle_bus.observed import Observed
from heddle_bus.port import Acknowledgement, Gap, GapReason, Message, Publication, StreamIdentity, StreamPosition
from heddle_bus.positions import resume
from heddle_core.clock import ManualClock, Micros
from heddle_core.errors import DeadlinePassed
from tests.kit.tasks import under_way


async def forget() -> None:
    pass


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 5))
def test_a_mailbox_accounts_for_every_message(steps: list[bool], room: int) -> None:
    """True sends the next message, False reads one if there is any: read and missed make up all, in order."""

    async def run() -> None:
        mailbox = Mailbox(most_messages=room, most_bytes=1000, on_close=forget)
        sent = 0
        read: list[Message | Gap] = []
        for step in [*steps, *[False] * len(steps)]:
            if step:
                mailbox.offer(Message("a", b"%d" % sent))
                sent += 1
            elif not mailbox.empty:
                read.append(await anext(mailbox))
        expected = 0
        for item in read:
            if isinstance(item, Gap):
                assert item.missed
                expected += item.missed
            else:
                assert int(item.payload) == expected
                expected += 1
        assert expected == sent

    asyncio.run(run())


async def test_marks_with_nothing_between_them_become_one() -> None:
    mailbox = Mailbox(most_messages=1, most_bytes=1000, on_close=forget)
    for _ in range(3):
        mailbox.offer(Message("a", b""))
    mailbox.mark(Gap(GapReason.DISCONNECTED))
    assert await anext(mailbox) == Message("a", b"")
    assert await anext(mailbox) == Gap(GapReason.DISCONNECTED, missed=None)


async def test_a_closed_mailbox_ends_its_reader_and_takes_nothing_more() -> None:
    mailbox = Mailbox(most_messages=1, most_bytes=1000, on_close=forget)
    waiting = await under_way(anext(mailbox, None))
    await mailbox.close()
    mailbox.offer(Message("a", b""))
    mailbox.mark(Gap(GapReason.OVERFLOW))
    assert await waiting is None and await anext(mailbox, None) is None


async def test_an_observed_value_tells_a_change_to_all_and_never_late() -> None:
    value = Observed(0)
    waiting = [asyncio.create_task(value.until(lambda now: now >= 2)) for _ in range(3)]
    changed = asyncio.create_task(value.change_from(0))
    for number in (1, 2):
        value.set(number)
        await asyncio.sleep(0)
    assert await asyncio.gather(*waiting) == [2, 2, 2]
    assert await changed in (1, 2)
    assert await value.change_from(0) == 2


@pytest.mark.parametrize(
    ("after", "first", "last", "position", "gap"),
    [
        (None, 0, 0, 0, None),
        (None, 5, 9, 4, None),
        ((1, 0), 1, 9, 0, None),
        ((1, 4), 1, 9, 4, None),
        ((1, 9), 1, 9, 9, None),
        ((1, 9), 10, 9, 9, None),
        ((1, 4), 5, 9, 4, None),
        ((1, 3), 5, 9, 4, Gap(GapReason.TRIMMED, 1)),
        ((1, 10), 1, 9, 0, Gap(GapReason.REPLACED)),
        ((2, 4), 1, 9, 0, Gap(GapReason.REPLACED)),
        ((2, 4), 3, 9, 2, Gap(GapReason.REPLACED)),
    ],
)
def test_where_reading_goes_on(
    after: tuple[int, int] | None, first: int, last: int, position: int, gap: Gap | None
) -> None:
    known = StreamPosition(Micros(after[0]), after[1]) if after is not None else None
    stream = StreamIdentity(Micros(1), first, last)
    assert resume(known, stream) == (StreamPosition(Micros(1), position), gap)


class UncertainBus(MemoryBus):
    """Leaves one publish unanswered when told so, without storing it."""

    unanswered = ""

    async def publish(
        self,
        subject: str,
        payload: bytes,
        *,
        message_id: str,
        headers: Mapping[str, str] | None = None,
        deadline: timedelta = timedelta(seconds=5),
        over: int | None = None,
    ) -> Acknowledgement:
        await asyncio.sleep(0)
        if message_id == self.unanswered:
            raise DeadlinePassed("the publish")
        return await super().publish(
            subject, payload, message_id=message_id, headers=headers or {}, deadline=deadline, over=over
        )


def queue_of(key: str, numbers: range) -> list[Publication]:
    subject = subjects.thread_event("acme", key, "Fact")
    return [Publication(subject, b"", f"{key}-{number}") for number in numbers]


async def test_after_a_fault_nothing_of_that_queue_overtakes_and_other_queues_go_on() -> None:
    async with UncertainBus(MemoryServer(ManualClock())) as bus:
        bus.unanswered = "t1-2"
        mine, others = await bus.publish_in_order([queue_of("t1", range(5)), queue_of("t2", range(5))])
        assert mine.stored == 2 and isinstance(mine.fault, DeadlinePassed)
        assert others.stored == 5 and others.fault is None
        bus.unanswered = ""
        (again,) = await bus.publish_in_order([queue_of("t1", range(2, 5))])
        assert again.stored == 3 and again.last is not None and not again.last.duplicate
        assert (await bus.identity()).last_sequence == 10


async def test_the_stream_in_memory_forgets_ids_after_the_window_and_messages_above_the_limit() -> None:
    clock = ManualClock()
    server = MemoryServer(clock, most_stored=3)
    async with MemoryBus(server) as bus:
        subject = subjects.thread_event("acme", "t1", "Fact")
        for number in range(5):
            await bus.publish(subject, b"", message_id=f"m{number}")
        assert (await bus.identity()).first_sequence == 3
        assert (await bus.publish(subject, b"", message_id="m4")).duplicate
        clock.advance(121)
        assert not (await bus.publish(subject, b"", message_id="m4")).duplicate
