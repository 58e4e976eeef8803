"""Signed webhooks: over real HTTP, from senders who know how and from others."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from heddle_campaign.facade.signals import LARGEST_PAYLOAD, SignalMatch
from heddle_campaign.intake.reporting import Report
from heddle_campaign.intake.signatures import Signatures
from heddle_campaign.intake.webhooks import Webhooks
from heddle_campaign.rules.cycles import Signal
from heddle_core.clock import SystemClock
from heddle_core.errors import StoreUnavailable, invalid
from heddle_core.ids import TenantId
from tests.kit.campaign_intake import NO_ROOM, PATH, SECRET, SOON, Campaigns, post, signed


@asynccontextmanager
async def served(report: Report, **settings: timedelta) -> AsyncIterator[httpx.AsyncClient]:
    webhooks = Webhooks(Signatures({"acme": [SECRET]}), report, SystemClock(), **settings)
    async with (
        webhooks.serving("127.0.0.1:0") as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        yield client


async def test_a_signed_webhook_is_reported_under_its_id_and_told_what_it_started() -> None:
    campaigns = Campaigns()
    body = json.dumps({"trends": [{"topic": "café", "virality": 80}]}, ensure_ascii=False).encode()
    async with served(campaigns.report) as client:
        response = await post(client, body)
    assert response.status_code == 200
    assert response.json() == {"matches": [{"campaign_id": "camp_1", "outcome": "FIRED", "cycle_id": "cycle_1"}]}
    ((tenant, signal),) = campaigns.reported
    assert (tenant, signal.kind, signal.dedupe_key, signal.source) == ("acme", "trend_spike", "msg_1", "webhook")
    assert signal.payload_json == body.decode()


async def test_a_sender_whose_signal_found_no_room_is_asked_to_send_it_again() -> None:
    campaigns = Campaigns(match=NO_ROOM)
    async with served(campaigns.report) as client:
        response = await post(client, b"{}")
    assert (response.status_code, response.headers["retry-after"]) == (503, "60")
    assert response.json() == {"matches": [{"campaign_id": "camp_1", "outcome": "NO_ROOM", "cycle_id": ""}]}


async def test_an_unsigned_a_foreign_and_an_unknown_tenants_webhook_get_the_same_refusal() -> None:
    campaigns = Campaigns()
    async with served(campaigns.report) as client:
        unsigned = await client.post(PATH, content=b"{}")
        foreign = await client.post(PATH, content=b"{}", headers=signed(b"{}", key=b"y" * 32))
        unknown = await post(client, b"{}", "/v1/signals/other/trend_spike")
    assert {each.status_code for each in (unsigned, foreign, unknown)} == {401}
    assert len({each.content for each in (unsigned, foreign, unknown)}) == 1
    assert campaigns.reported == []


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", PATH, 405),
        ("PUT", PATH, 405),
        ("POST", "/", 404),
        ("POST", "/v1/signals/acme/Trend", 404),
        ("POST", "/v1/signals/acme/x/y", 404),
        ("POST", "/v1/signals/control/x", 404),
        ("POST", "/v1/signals/ac%2Fme/x", 404),
    ],
)
async def test_another_method_or_path_is_refused(method: str, path: str, status: int) -> None:
    campaigns = Campaigns()
    async with served(campaigns.report) as client:
        response = await client.request(method, path, content=b"{}", headers=signed(b"{}"))
    assert response.status_code == status
    assert campaigns.reported == []


async def test_a_body_that_is_too_large_is_refused_in_words() -> None:
    campaigns = Campaigns()
    async with served(campaigns.report) as client:
        largest = await post(client, b'"' + b"x" * (LARGEST_PAYLOAD - 2) + b'"')
        larger = await post(client, b"x" * (LARGEST_PAYLOAD + 1))
        huge = await post(client, b"x" * (16 * LARGEST_PAYLOAD))
    assert largest.status_code == 200
    assert (larger.status_code, huge.status_code) == (413, 413)
    assert larger.json()["error"] == "REQUEST_TOO_LARGE"
    assert len(campaigns.reported) == 1


async def test_a_body_in_chunks_and_with_an_expectation_is_read() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b'{"a":'
        yield b"1}"

    campaigns = Campaigns()
    async with served(campaigns.report) as client:
        response = await client.post(PATH, content=chunks(), headers=signed(b'{"a":1}'))
        port = client.base_url.port
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        named = "".join(f"{name}: {text}\r\n" for name, text in signed(b"{}", "msg_2").items())
        writer.write(
            f"POST {PATH} HTTP/1.1\r\nhost: x\r\n{named}content-length: 2\r\nexpect: 100-continue\r\n\r\n".encode()
        )
        async with asyncio.timeout(SOON):
            assert b"100" in await reader.readuntil(b"\r\n\r\n")
            writer.write(b"{}")
            assert b"200" in await reader.readline()
        writer.close()
        await writer.wait_closed()
    assert response.status_code == 200
    assert [signal.payload_json for _, signal in campaigns.reported] == ['{"a":1}', "{}"]


@pytest.mark.parametrize(
    "sent", [b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"POST\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"x" * 20_000]
)
async def test_what_is_no_request_is_told_so_and_harms_nobody(sent: bytes) -> None:
    campaigns = Campaigns()
    async with served(campaigns.report) as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
        writer.write(sent)
        async with asyncio.timeout(SOON):
            assert (await reader.readline()).startswith(b"HTTP/1.1 4")
        writer.close()
        assert (await post(client, b"{}")).status_code == 200


async def test_a_sender_that_is_slow_is_cut_off() -> None:
    campaigns = Campaigns()
    async with served(campaigns.report, patience=timedelta(milliseconds=100)) as client:
        reader, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
        writer.write(f"POST {PATH} HTTP/1.1\r\nhost: x\r\n".encode())
        async with asyncio.timeout(SOON):
            assert (await reader.readline()).startswith(b"HTTP/1.1 408")
        writer.close()
        await writer.wait_closed()


async def test_a_sender_that_hangs_up_leaves_nothing_behind() -> None:
    campaigns = Campaigns()
    async with served(campaigns.report) as client:
        _, writer = await asyncio.open_connection("127.0.0.1", client.base_url.port)
        writer.write(b"POST /v1")
        writer.close()
        await writer.wait_closed()
        assert (await post(client, b"{}")).status_code == 200


@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        (StoreUnavailable("disk full"), 503, "STORE_UNAVAILABLE"),
        (invalid("signal.payload_json", "must be a JSON object"), 400, "INVALID_FIELD"),
        (ValueError("a fault of ours"), 500, "INTERNAL_FAULT"),
    ],
)
async def test_what_could_not_be_put_on_record_is_told_and_may_be_sent_again(
    fault: Exception, status: int, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    campaigns = Campaigns(faults=[fault])
    async with served(campaigns.report) as client:
        response = await post(client, b"{}")
        assert (response.status_code, response.json()["error"]) == (status, reason)
        assert ("retry-after" in response.headers) == (status == 503)
        assert (await post(client, b"{}")).status_code == 200


async def test_a_body_that_is_no_text_is_refused() -> None:
    campaigns = Campaigns()
    async with served(campaigns.report) as client:
        response = await client.post(PATH, content=b"\xff{}", headers=signed(b"\xff{}"))
    # What no text is, cannot have been signed as one.
    assert response.status_code == 401


async def test_an_answer_that_has_begun_is_finished_before_the_listener_is_gone() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def report(tenant: TenantId, signal: Signal) -> Sequence[SignalMatch]:
        begun.set()
        await go_on.wait()
        return ()

    webhooks = Webhooks(Signatures({"acme": [SECRET]}), report, SystemClock())
    async with AsyncExitStack() as listening, httpx.AsyncClient() as client, asyncio.timeout(SOON):
        port = await listening.enter_async_context(webhooks.serving("127.0.0.1:0"))
        asking = asyncio.create_task(post(client, b"{}", f"http://127.0.0.1:{port}{PATH}"))
        await begun.wait()
        closing = asyncio.create_task(listening.aclose())
        go_on.set()
        response = await asking
        await closing
    assert response.status_code == 200


async def test_what_the_page_says_of_signing_is_accepted() -> None:
    page = (Path(__file__).parents[2] / "docs" / "signals.md").read_text()
    code = page.partition("```python\n")[2].partition("```")[0]
    campaigns = Campaigns()
    async with served(campaigns.report) as client:
        code = code.replace("http://127.0.0.1:7240", str(client.base_url).rstrip("/"))
        told: dict[str, object] = {"secret": SECRET}
        await asyncio.to_thread(exec, code, told)
    ((tenant, signal),) = campaigns.reported
    assert (tenant, signal.kind, signal.dedupe_key) == ("acme", "viral_post", "post-4711")
