"""The production configuration, run for real: three nodes, TLS, permissions, and the loss of one node."""

import asyncio
import os
import signal
import socket
import ssl
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import nats
import pytest
import trustme
from nats.js.errors import NoStreamResponseError

from heddle_bus import subjects
from heddle_bus.endpoint import Endpoint
from heddle_bus.jetstream import JetStreamBus
from heddle_bus.link import Link
from heddle_bus.port import Message, StoredMessage
from heddle_bus.queue import JetStreamQueue, QueueSettings
from heddle_bus.server import find_binary
from heddle_bus.stream import StreamSettings
from heddle_core.errors import DeadlinePassed, ServiceUnreachable

DEPLOY = Path(__file__).parents[2] / "deploy" / "nats"
NODES = ("n0", "n1", "n2")
PATIENCE = 45
SUBJECT = subjects.thread_event("acme", "t1", "Fact")


@dataclass(frozen=True)
class Cluster:
    nodes: dict[str, Process]
    endpoint: Endpoint
    signals: Endpoint


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def write_configuration(folder: Path) -> dict[str, str]:
    """The deployed files with certificates and plain passwords, and the environment that all nodes share."""
    (folder / "nats-server.conf").write_text((DEPLOY / "nats-server.conf").read_text())
    users = (DEPLOY / "users.example.conf").read_text()
    (folder / "users.conf").write_text(users.replace("PUT-A-BCRYPT-HASH-HERE", "secret"))
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    certificate.private_key_pem.write_to_path(str(folder / "key.pem"))
    for part in certificate.cert_chain_pems:
        part.write_to_path(str(folder / "cert.pem"), append=True)
    return {
        "NATS_STORE_LIMIT": "1GB",
        "NATS_CERT_FILE": str(folder / "cert.pem"),
        "NATS_KEY_FILE": str(folder / "key.pem"),
        "NATS_CA_FILE": str(folder / "ca.pem"),
    }


@asynccontextmanager
async def node(folder: Path, environment: dict[str, str]) -> AsyncIterator[Process]:
    with (folder / f"{environment['NATS_NAME']}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(str(find_binary(os.environ)), "-c", str(folder / "nats-server.conf")),
            env={**os.environ, **environment},
            stdin=DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    shared = write_configuration(tmp_path)
    ports = free_ports(2 * len(NODES))
    listen, routes = ports[: len(NODES)], ports[len(NODES) :]
    shared["NATS_ROUTES"] = "[" + ", ".join(f'"tls://127.0.0.1:{port}"' for port in routes) + "]"
    trust = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))
    urls = tuple(f"tls://127.0.0.1:{port}" for port in listen)
    async with AsyncExitStack() as running:
        nodes: dict[str, Process] = {}
        for name, client, route in zip(NODES, listen, routes, strict=True):
            own = {
                "NATS_NAME": name,
                "NATS_LISTEN": f"127.0.0.1:{client}",
                "NATS_CLUSTER_LISTEN": f"127.0.0.1:{route}",
                "NATS_STORE_DIR": str(tmp_path / name),
            }
            nodes[name] = await running.enter_async_context(node(tmp_path, {**shared, **own}))
        yield Cluster(
            nodes,
            Endpoint(urls, user="heddle", password="secret", tls=trust),
            Endpoint(urls, user="acme-signals", password="secret", tls=trust),
        )


async def publish_until_stored(bus: JetStreamBus, number: int) -> None:
    while True:
        try:
            await bus.publish(SUBJECT, b"%d" % number, message_id=f"m{number}", deadline=timedelta(seconds=2))
        except (DeadlinePassed, ServiceUnreachable):
            continue
        return


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no signals")
async def test_the_loss_of_any_node_stops_neither_publishers_nor_readers(cluster: Cluster) -> None:
    settings = StreamSettings(replicas=3, bytes_limit=64 * 1024**2)
    async with asyncio.timeout(PATIENCE), JetStreamBus(lambda: cluster.endpoint, stream=settings) as bus:
        await bus.connection.until(lambda state: state.durable)
        async with bus.follow((SUBJECT,), after=None) as following:
            read: list[int] = []
            for number in range(60):
                if number == 20:
                    cluster.nodes["n1"].send_signal(signal.SIGKILL)
                    await cluster.nodes["n1"].wait()
                await publish_until_stored(bus, number)
            while not read or read[-1] != 59:
                item = await anext(following)
                assert isinstance(item, StoredMessage)
                read.append(int(item.payload))
        assert list(dict.fromkeys(read)) == list(range(60))


@pytest.mark.slow
async def test_signals_of_a_tenant_come_through_the_deployed_permissions(cluster: Cluster) -> None:
    wanted = QueueSettings(
        stream=subjects.SIGNAL_STREAM, subjects=subjects.SIGNAL_STREAM_SUBJECTS, consumer="campaign", replicas=3
    )
    outside = Link(cluster.signals, name="acme", on_lost=lambda: None)
    subject = subjects.signals("acme", "sale")
    async with asyncio.timeout(PATIENCE), AsyncExitStack() as closing:
        closing.push_async_callback(outside.close)
        settings = StreamSettings(replicas=3, bytes_limit=64 * 1024**2)
        heddle = await closing.enter_async_context(JetStreamBus(lambda: cluster.endpoint, stream=settings))
        await heddle.connection.until(lambda state: state.durable)
        async with JetStreamQueue(lambda: cluster.endpoint, wanted, name="campaign") as queue:
            taking = asyncio.create_task(anext(queue))
            await outside.open()
            while not taking.done():  # before the queue has made its stream nobody stores it
                await outside.send(subject, b"first", {})
                await asyncio.wait([taking], timeout=0.2)
            first = taking.result().message
            assert (first.subject, first.payload) == (subject, b"first")
            await queue.done(taking.result())
        await outside.send(subject, b"last", {})
        async with JetStreamQueue(lambda: cluster.endpoint, wanted, name="campaign") as queue:
            async for delivery in queue:
                assert delivery.message.position.sequence > first.position.sequence, "it was settled"
                await queue.done(delivery)
                if delivery.message.payload == b"last":
                    break


@pytest.mark.slow
async def test_who_reports_signals_hears_that_they_were_stored_and_no_answers_to_others(cluster: Cluster) -> None:
    wanted = QueueSettings(
        stream=subjects.SIGNAL_STREAM, subjects=subjects.SIGNAL_STREAM_SUBJECTS, consumer="campaign", replicas=3
    )
    refused: asyncio.Queue[Exception] = asyncio.Queue()
    settings = StreamSettings(replicas=3, bytes_limit=64 * 1024**2)
    async with asyncio.timeout(PATIENCE), AsyncExitStack() as closing:
        heddle = await closing.enter_async_context(JetStreamBus(lambda: cluster.endpoint, stream=settings))
        await heddle.connection.until(lambda state: state.durable)
        queue = await closing.enter_async_context(JetStreamQueue(lambda: cluster.endpoint, wanted, name="campaign"))
        outside = await nats.connect(
            list(cluster.signals.servers),
            user=cluster.signals.user,
            password=cluster.signals.password,
            tls=cluster.signals.tls,
            inbox_prefix=b"_INBOX_acme",
            error_cb=refused.put,
        )
        closing.push_async_callback(outside.close)
        subject = subjects.signals("acme", "sale")
        taking = asyncio.create_task(anext(queue))
        while True:  # before the queue has made its stream nobody stores it
            try:
                stored = await outside.jetstream().publish(subject, b"{}")
            except NoStreamResponseError:
                continue
            break
        assert stored.stream == subjects.SIGNAL_STREAM
        assert (await taking).message.position.sequence == stored.seq
        for listened in ("_INBOX.>", "_INBOX_other.>", "heddle.v1.>"):
            await outside.subscribe(listened)
            assert "permissions violation for subscription" in str(await refused.get()).lower(), listened


@pytest.mark.slow
async def test_permissions_are_those_of_the_deployed_file(cluster: Cluster) -> None:
    settings = StreamSettings(replicas=3, bytes_limit=64 * 1024**2)
    # At one node: who listens at another is told to this one in its own time, and what is sent before is lost.
    inside, signals = (replace(each, servers=each.servers[:1]) for each in (cluster.endpoint, cluster.signals))
    outside = Link(signals, name="acme", on_lost=lambda: None)
    async with asyncio.timeout(PATIENCE), JetStreamBus(lambda: inside, stream=settings) as heddle:
        await heddle.connection.until(lambda state: state.durable)
        before = await heddle.identity()
        try:
            await outside.open()
            async with await heddle.subscribe("heddle.v1.>") as everything:
                for forbidden in (
                    subjects.signals("other", "sale"),
                    subjects.control("runs", "r1"),
                    SUBJECT,
                    f"$JS.API.STREAM.DELETE.{subjects.EVENT_STREAM}",
                ):
                    await outside.send(forbidden, b"", {})
                allowed = subjects.signals("acme", "sale")
                await outside.send(allowed, b"1", {})
                assert await anext(everything) == Message(allowed, b"1")
            # It may not listen, not even to its own echo.
            with pytest.raises(DeadlinePassed):
                await outside.settle(timedelta(milliseconds=300))
        finally:
            await outside.close()
        await publish_until_stored(heddle, 1)
        assert await heddle.purge(subjects.thread_events("acme", "t1")) == 1
        assert (await heddle.identity()).created == before.created
