"""A durable queue over a real NATS: nothing that was published is lost, and each message is settled once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import nats
import nats.errors
import nats.js.errors
import pytest

from heddle_bus import subjects
from heddle_bus.queue import Delivery, JetStreamQueue, QueueSettings
from heddle_bus.server import NatsServer
from heddle_core.errors import InvalidField
from tests.kit.nats import kill, nats_server

SOON = 20.0
SUBJECT = subjects.signals("acme", "trend_spike")


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with nats_server(tmp_path / "nats") as server:
        yield server


def settings(*, patience: float = 30.0) -> QueueSettings:
    return QueueSettings(
        stream=subjects.SIGNAL_STREAM,
        subjects=subjects.SIGNAL_STREAM_SUBJECTS,
        consumer="campaign",
        bytes_limit=16 * 1024**2,
        patience=timedelta(seconds=patience),
    )


def queue(server: NatsServer, *, patience: float = 30.0) -> JetStreamQueue:
    return JetStreamQueue(server.endpoint, settings(patience=patience), name="test")


@asynccontextmanager
async def sender(server: NatsServer) -> AsyncIterator[nats.NATS]:
    """A client as anybody has it."""
    endpoint = server.endpoint()
    client = await nats.connect(list(endpoint.servers), token=endpoint.token or None)
    try:
        yield client
    finally:
        await client.close()


async def send(server: NatsServer, *bodies: bytes, headers: dict[str, str] | None = None) -> None:
    async with sender(server) as client:
        for body in bodies:
            await client.publish(SUBJECT, body, headers=headers)
        await client.flush()


async def published(client: nats.NATS, body: bytes) -> None:
    """Publish until the stream has it: none is there before somebody takes from it."""
    async with asyncio.timeout(SOON):
        while True:
            try:
                await client.jetstream().publish(SUBJECT, body, timeout=1, headers={subjects.MESSAGE_ID: body.decode()})
                return
            except (nats.js.errors.NoStreamResponseError, nats.errors.TimeoutError):
                await client.flush()


async def next_of(queue: JetStreamQueue) -> Delivery:
    async with asyncio.timeout(SOON):
        return await anext(queue)


async def made(server: NatsServer) -> None:
    """Have the stream and its consumer there, as a first start leaves them."""
    async with queue(server) as first:
        waiting = asyncio.create_task(anext(first))
        async with sender(server) as client:
            await published(client, b"first")
            await first.done(await waiting)


async def test_a_message_that_came_while_nobody_took_is_delivered_later(server: NatsServer) -> None:
    await made(server)
    await send(server, b"one", b"two")
    async with queue(server) as later:
        taken = [await next_of(later), await next_of(later)]
    assert [each.message.payload for each in taken] == [b"one", b"two"]
    assert [each.attempt for each in taken] == [1, 1]
    assert taken[0].message.position.sequence < taken[1].message.position.sequence


async def test_what_is_done_does_not_come_again_and_what_is_not_does(server: NatsServer) -> None:
    await made(server)
    await send(server, b"one", b"two")
    async with queue(server) as first:
        one = await next_of(first)
        await first.done(one)
        assert (await next_of(first)).message.payload == b"two"
    async with queue(server, patience=0.2) as second:
        again = await next_of(second)
    assert (again.message.payload, again.attempt) == (b"two", 2)


async def test_what_was_taken_and_not_handed_over_goes_to_another_at_once(server: NatsServer) -> None:
    await made(server)
    await send(server, b"one", b"two", b"three")
    async with queue(server) as first:
        await first.done(await next_of(first))
    async with queue(server) as second:
        rest = {(await next_of(second)).message.payload for _ in range(2)}
    assert rest == {b"two", b"three"}


async def test_what_is_given_back_comes_again_after_its_pause(server: NatsServer) -> None:
    await made(server)
    await send(server, b"one")
    async with queue(server) as taking:
        first = await next_of(taking)
        await taking.give_back(first, timedelta(milliseconds=50))
        again = await next_of(taking)
    assert (again.attempt, again.message.position) == (2, first.message.position)
    assert again.stored == first.stored


async def test_what_is_put_aside_comes_never_again_and_can_still_be_read(server: NatsServer) -> None:
    await made(server)
    await send(server, b"bad", b"good")
    async with queue(server, patience=0.2) as taking:
        bad = await next_of(taking)
        await taking.put_aside(bad, "nothing can be made of it\r\nPUB forged 0")
        good = await next_of(taking)
        assert good.message.payload == b"good"
        await taking.done(good)
        await send(server, b"last")
        assert (await next_of(taking)).message.payload == b"last"
    async with sender(server) as client:
        kept = await client.jetstream().get_msg(subjects.SIGNAL_STREAM, seq=bad.message.position.sequence)
    assert kept.data == b"bad"


async def test_headers_and_the_message_id_arrive_and_a_repeated_id_is_stored_once(server: NatsServer) -> None:
    await made(server)
    headers = {subjects.MESSAGE_ID: "m1", subjects.DEDUPE_KEY: "spike-7"}
    await send(server, b"one", b"again", headers=headers)
    await send(server, b"two")
    async with queue(server) as taking:
        one, two = await next_of(taking), await next_of(taking)
    assert one.message.headers[subjects.DEDUPE_KEY] == "spike-7"
    assert two.message.payload == b"two"


async def test_two_processes_share_the_messages(server: NatsServer) -> None:
    await made(server)
    async with queue(server) as one, queue(server) as other:
        taken: list[bytes] = []

        async def work(mine: JetStreamQueue) -> None:
            async for delivery in mine:
                taken.append(delivery.message.payload)
                await mine.done(delivery)
                if len(taken) == 100:
                    finished.set()

        finished = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            workers = [group.create_task(work(each)) for each in (one, other)]
            await send(server, *(b"%d" % number for number in range(100)))
            async with asyncio.timeout(SOON):
                await finished.wait()
            for each in workers:
                each.cancel()
    assert sorted(map(int, taken)) == list(range(100))


async def test_a_server_that_is_killed_delays_and_loses_nothing(server: NatsServer) -> None:
    await made(server)
    async with queue(server, patience=0.5) as taking:
        await send(server, b"before")
        before = await next_of(taking)
        await kill(server)
        await send(server, b"after")
        await taking.done(before)
        seen = {(await next_of(taking)).message.payload}
        while b"after" not in seen:
            seen.add((await next_of(taking)).message.payload)
    # What was settled shortly before may come again, since the server writes that down late.
    assert seen <= {b"first", b"before", b"after"}


async def test_a_stream_that_somebody_removed_is_made_again(server: NatsServer) -> None:
    await made(server)
    async with queue(server) as taking:
        waiting = asyncio.create_task(next_of(taking))
        async with sender(server) as client:
            await client.jetstream().delete_stream(subjects.SIGNAL_STREAM)
            await published(client, b"new")
        assert (await waiting).message.payload == b"new"


async def test_the_limits_of_an_older_start_are_changed_to_those_of_a_newer(server: NatsServer) -> None:
    await made(server)
    newer = QueueSettings(subjects.SIGNAL_STREAM, subjects.SIGNAL_STREAM_SUBJECTS, "campaign", bytes_limit=8 * 1024**2)
    await send(server, b"one")
    async with JetStreamQueue(server.endpoint, newer, name="test") as taking:
        await next_of(taking)
    async with sender(server) as client:
        info = await client.jetstream().stream_info(subjects.SIGNAL_STREAM)
    assert info.config.max_bytes == 8 * 1024**2


@pytest.mark.parametrize(
    "subject", ["heddle.v1.acme.threads.t1.Run", "heddle.v1.control.signals.x", "heddle.v1.acme.signals", "x"]
)
def test_a_subject_that_is_none_of_a_signal_is_refused(subject: str) -> None:
    with pytest.raises(InvalidField):
        subjects.parts_of_signal(subject)


def test_a_signals_subject_tells_its_tenant_and_kind() -> None:
    assert subjects.parts_of_signal(subjects.signals("acme", "viral_post")) == ("acme", "viral_post")
