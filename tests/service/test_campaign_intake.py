"""Signals that come by themselves, over NATS and signed webhooks, and deletions of threads."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import cast

import httpx
import nats
import nats.js.errors
import pytest

from heddle_bus import subjects
from heddle_bus.port import Bus, StoredMessage, StreamPosition
from heddle_bus.queue import Delivery, Queue
from heddle_bus.server import NatsServer
from heddle_campaign.facade.forgetting import Forgetting
from heddle_campaign.facade.signals import SignalMatch
from heddle_campaign.intake.deletions import hear_deletions
from heddle_campaign.intake.intake import IntakeSettings, intake
from heddle_campaign.intake.signatures import Signatures
from heddle_campaign.intake.subject import MOST_ATTEMPTS, MOST_OFFERS, take
from heddle_campaign.intake.webhooks import Webhooks
from heddle_core.clock import Micros, SystemClock
from heddle_core.errors import CannotServe, StoreUnavailable, invalid
from tests.kit.campaign_intake import FIRED, NO_ROOM, PATH, SECRET, SOON, Campaigns, post
from tests.kit.nats import bus_world, nats_server

# --- NATS ------------------------------------------------------------------------------------------------


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[NatsServer]:
    async with nats_server(tmp_path / "nats") as server:
        yield server


@asynccontextmanager
async def taking(server: NatsServer, campaigns: Campaigns) -> AsyncIterator[None]:
    """The campaign service's intake, as it is served."""
    settings = IntakeSettings()
    async with intake(settings, campaigns.report, cast(Forgetting, None), SystemClock(), server.endpoint, None) as port:
        assert port == 0
        yield


@asynccontextmanager
async def sender(server: NatsServer) -> AsyncIterator[nats.NATS]:
    endpoint = server.endpoint()
    client = await nats.connect(list(endpoint.servers), token=endpoint.token or None)
    try:
        yield client
    finally:
        await client.close()


async def publish(
    client: nats.NATS, body: bytes, subject: str = "heddle.v1.acme.signals.trend_spike", **headers: str
) -> int:
    """Publish one, as soon as there is a stream; its place there."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    async with asyncio.timeout(SOON):
        while True:
            try:
                return (await client.jetstream().publish(subject, body, headers=named or None)).seq
            except nats.js.errors.NoStreamResponseError:
                await client.flush()


async def test_a_signal_on_its_subject_is_reported_under_its_dedupe_key(server: NatsServer) -> None:
    campaigns = Campaigns()
    async with taking(server, campaigns), sender(server) as client:
        await publish(client, b'{"virality": 80}', Heddle_Dedupe_Key="spike-7", Nats_Msg_Id="m1")
        signal = await campaigns.one()
    assert (signal.kind, signal.dedupe_key, signal.source) == ("trend_spike", "spike-7", "NATS")
    assert signal.payload_json == '{"virality": 80}'
    assert abs(signal.occur_time - SystemClock().now()) < 60_000_000


async def test_without_a_key_of_its_own_a_signal_goes_by_its_message_id_or_its_place(server: NatsServer) -> None:
    campaigns = Campaigns()
    async with taking(server, campaigns), sender(server) as client:
        await publish(client, b"{}", Nats_Msg_Id="m1")
        by_id = await campaigns.one()
        await publish(client, b"")
        by_place = await campaigns.one()
        await publish(client, b"{}")
        other = await campaigns.one()
    assert by_id.dedupe_key == "m1"
    assert by_place.dedupe_key.startswith("nats-")
    assert by_place.payload_json == "{}"
    assert other.dedupe_key != by_place.dedupe_key


async def test_a_signal_that_was_published_while_the_service_was_down_is_reported_at_its_next_start(
    server: NatsServer,
) -> None:
    campaigns = Campaigns()
    async with sender(server) as client:
        async with taking(server, campaigns):
            await publish(client, b'{"n": 1}')
            await campaigns.one()
        await client.publish("heddle.v1.acme.signals.viral_post", b'{"n": 2}')
        await client.flush()
        async with taking(server, campaigns):
            signal = await campaigns.one()
    assert (signal.kind, signal.payload_json) == ("viral_post", '{"n": 2}')
    assert campaigns.reported == []


async def test_a_signal_waits_for_a_store_that_is_in_trouble(
    server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    campaigns = Campaigns(faults=[StoreUnavailable("disk full")])
    async with taking(server, campaigns), sender(server) as client:
        await publish(client, b'{"n": 1}')
        signal = await campaigns.one()
    assert signal.payload_json == '{"n": 1}'
    assert "a signal waits" in caplog.messages


async def test_a_bad_signal_is_put_aside_with_a_word_and_stops_no_other(
    server: NatsServer, caplog: pytest.LogCaptureFixture
) -> None:
    campaigns = Campaigns(faults=[invalid("signal.payload_json", "must be a JSON object")])
    async with taking(server, campaigns), sender(server) as client:
        place = await publish(client, b"[]")
        await publish(client, b"\xff")
        await publish(client, b"{}")
        signal = await campaigns.one()
        info = await client.jetstream().consumer_info(subjects.SIGNAL_STREAM, "campaign")
    assert signal.payload_json == "{}"
    assert caplog.messages.count("a signal was put aside") == 2
    aside = next(each for each in caplog.records if each.message == "a signal was put aside")
    assert getattr(aside, "fields")["sequence"] == place  # noqa: B009 - put there by LogLines
    assert info.num_redelivered == 0


# --- settling, without a server --------------------------------------------------------------------------


@dataclass
class Settled:
    """A queue that writes down how deliveries are settled."""

    verdicts: list[tuple[str, object]] = field(default_factory=list)

    async def done(self, delivery: Delivery) -> None:
        self.verdicts.append(("done", None))

    async def give_back(self, delivery: Delivery, pause: timedelta) -> None:
        self.verdicts.append(("back", pause))

    async def put_aside(self, delivery: Delivery, reason: str) -> None:
        self.verdicts.append(("aside", reason))


def delivery(attempt: int = 1, subject: str = "heddle.v1.acme.signals.viral_post") -> Delivery:
    message = StoredMessage(subject, b"{}", {}, StreamPosition(Micros(1), 7))
    return Delivery(message, attempt, Micros(1_700_000_000_000_000), "reply")


async def settled(
    fault: Exception | None, attempt: int = 1, match: SignalMatch = FIRED, **fields: str
) -> tuple[str, object]:
    queue = Settled()
    campaigns = Campaigns(faults=[fault] if fault is not None else [], match=match)
    await take(cast(Queue, queue), delivery(attempt, **fields), campaigns.report)
    (verdict,) = queue.verdicts
    return verdict


async def test_a_signal_is_done_only_once_it_is_on_record() -> None:
    assert await settled(None) == ("done", None)


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 1), (2, 2), (6, 32), (7, 60), (10_000, 60)])
async def test_a_store_in_trouble_is_asked_again_ever_more_seldom_and_for_ever(attempt: int, seconds: int) -> None:
    assert await settled(StoreUnavailable("down"), attempt) == ("back", timedelta(seconds=seconds))


async def test_a_signal_that_found_no_room_comes_again_for_some_minutes_and_is_then_put_aside() -> None:
    assert await settled(None, 4, NO_ROOM) == ("back", timedelta(seconds=8))
    assert (await settled(None, MOST_OFFERS - 1, NO_ROOM))[0] == "back"
    assert (await settled(None, MOST_OFFERS, NO_ROOM))[0] == "aside"


async def test_a_fault_of_ours_is_tried_some_times_and_then_put_aside(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)
    assert (await settled(ValueError("ours"), MOST_ATTEMPTS - 1))[0] == "back"
    assert (await settled(ValueError("ours"), MOST_ATTEMPTS))[0] == "aside"


async def test_a_signal_in_the_name_of_a_reserved_tenant_is_put_aside() -> None:
    assert (await settled(None, subject="heddle.v1.control.signals.x"))[0] == "aside"


# --- deletions -------------------------------------------------------------------------------------------


@dataclass
class Forgotten:
    """Stands in for `Forgetting`: what it was told."""

    threads: list[tuple[str, str]] = field(default_factory=list)
    looks: int = 0
    faults: list[Exception] = field(default_factory=list)
    told: asyncio.Event = field(default_factory=asyncio.Event)

    async def forget_thread(self, tenant: str, thread_id: str) -> int:
        if self.faults:
            raise self.faults.pop(0)
        self.threads.append((tenant, thread_id))
        self.told.set()
        return 1

    def look_now(self) -> None:
        self.looks += 1
        self.told.set()

    async def until(self, count: int) -> None:
        async with asyncio.timeout(SOON):
            while len(self.threads) + self.looks < count:
                self.told.clear()
                await self.told.wait()


async def deleted(bus: Bus, thread: str) -> None:
    subject = subjects.thread_event("acme", thread, "ThreadDeleted")
    await bus.publish(subject, b"", message_id=f"deleted-{thread}")


@pytest.mark.parametrize("kind", ["memory", "jetstream"])
async def test_threads_that_were_deleted_before_and_after_the_start_are_forgotten(kind: str, tmp_path: Path) -> None:
    forgotten = Forgotten(faults=[StoreUnavailable("down")])
    async with bus_world(kind, tmp_path / "nats") as world:
        bus = await world.bus()
        await deleted(bus, "t0")
        await deleted(bus, "t1")
        hearing = asyncio.create_task(hear_deletions(bus, cast(Forgetting, forgotten)))
        await forgotten.until(2)
        await bus.publish(subjects.thread_event("acme", "t9", "RunCompleted"), b"", message_id="run")
        await deleted(bus, "t2")
        await forgotten.until(3)
        hearing.cancel()
        await asyncio.wait([hearing])
    assert forgotten.threads == [("acme", "t1"), ("acme", "t2")]
    assert forgotten.looks == 1


async def test_a_stream_that_was_wiped_has_the_cited_threads_looked_for(tmp_path: Path) -> None:
    forgotten = Forgotten()
    async with bus_world("memory", tmp_path) as world:
        bus = await world.bus()
        hearing = asyncio.create_task(hear_deletions(bus, cast(Forgetting, forgotten)))
        await deleted(bus, "t1")
        await forgotten.until(1)
        await world.wipe()
        await forgotten.until(2)
        hearing.cancel()
        await asyncio.wait([hearing])
    assert (forgotten.threads, forgotten.looks) == ([("acme", "t1")], 1)


# --- opening ---------------------------------------------------------------------------------------------


async def test_the_ways_in_are_opened_together_and_webhooks_say_their_port() -> None:
    campaigns = Campaigns()
    settings = IntakeSettings("127.0.0.1:0", {"acme": [SECRET]})
    opened = intake(settings, campaigns.report, cast(Forgetting, None), SystemClock(), None, None)
    async with opened as port, httpx.AsyncClient() as client:
        assert (await post(client, b"{}", f"http://127.0.0.1:{port}{PATH}")).status_code == 200


async def test_a_taken_address_and_a_bad_secret_stop_the_start() -> None:
    campaigns = Campaigns()
    webhooks = Webhooks(Signatures({}), campaigns.report, SystemClock())
    async with webhooks.serving("127.0.0.1:0") as port:
        with pytest.raises(CannotServe, match=str(port)):
            async with webhooks.serving(f"127.0.0.1:{port}"):
                pass
    settings = IntakeSettings("127.0.0.1:0", {"acme": ["nonsense"]})
    with pytest.raises(CannotServe, match="whsec_"):
        async with intake(settings, campaigns.report, cast(Forgetting, None), SystemClock(), None, None):
            pass


class Following:
    """A stream that has nothing to say, and whose connection breaks while it is cleaned up."""

    def __init__(self) -> None:
        self.followed = asyncio.Event()

    def follow(self, subjects: Sequence[str], *, after: StreamPosition | None) -> "Following":
        return self

    async def __aenter__(self) -> "Following":
        return self

    async def __aexit__(self, *_: object) -> None:
        raise ConnectionResetError("gone")

    def __aiter__(self) -> "Following":
        return self

    async def __anext__(self) -> StoredMessage:
        self.followed.set()
        await asyncio.Event().wait()
        raise StopAsyncIteration


async def test_a_way_in_whose_clean_up_fails_keeps_nobody_from_stopping() -> None:
    bus = Following()
    settings = IntakeSettings(None, {})
    async with asyncio.timeout(SOON):
        opened = intake(settings, Campaigns().report, cast(Forgetting, None), SystemClock(), None, cast(Bus, bus))
        async with opened:
            await bus.followed.wait()
