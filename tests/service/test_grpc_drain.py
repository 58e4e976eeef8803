"""A server that goes away: in order, in time, and told to everybody."""

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from heddle_core.errors import Draining, ServiceUnreachable
from heddle_grpc.channel import Channel
from heddle_grpc.drain import Drain, asked_by_signal
from heddle_grpc.server import Server, until_asked
from tests.kit.grpc_probe import Probe, Servicer, answer, ask, local, reaching, serving

LONG = timedelta(seconds=20)


class Waiting(Servicer):
    """Unary calls wait until told; streams watch the drain, or do not."""

    def __init__(self, *, watches: bool = True) -> None:
        self.watches = watches
        self.drain = Drain()
        self.entered = asyncio.Event()
        self.go_on = asyncio.Event()

    async def Ask(self, request: Any, context: Any) -> Any:
        self.entered.set()
        await self.go_on.wait()
        return answer("done")

    async def Watch(self, request: Any, context: Any) -> Any:
        doorbell = asyncio.Event()
        with self.drain.ringing(doorbell):
            yield answer(number=1)
            await (doorbell if self.watches else asyncio.Event()).wait()
            yield answer("last words")
            raise Draining


class Running:
    """A server that a test can tell to go away while it goes on looking."""

    def __init__(self, servicer: Waiting, **settings: Any) -> None:
        self.servicer = servicer
        self.asked = asyncio.Event()
        self.server: Server = serving(servicer, settings=local(**settings), drain=servicer.drain)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> "Running":
        self.group = await self._stack.enter_async_context(asyncio.TaskGroup())
        started = asyncio.Event()
        self.served = self.group.create_task(self._serve(started))
        await started.wait()
        self.channel: Channel = await self._stack.enter_async_context(reaching(self.server))
        self.probe = Probe(self.channel)
        return self

    async def __aexit__(self, *exception: Any) -> None:
        self.asked.set()
        self.servicer.go_on.set()
        await self._stack.__aexit__(*exception)

    async def _serve(self, started: asyncio.Event) -> None:
        async with self.server.running():
            started.set()
            await self.asked.wait()


async def test_a_drain_ends_streams_with_unavailable_and_lets_unary_calls_finish() -> None:
    servicer = Waiting()
    async with asyncio.timeout(15), Running(servicer, stream_grace=10, grace=10) as running:
        slow = asyncio.ensure_future(running.probe.ask(ask()))
        await servicer.entered.wait()
        seen = []
        with pytest.raises(Draining):
            async for each in running.probe.watch(ask()):
                seen.append(each.text)
                running.asked.set()
        assert seen == ["", "last words"]
        assert not running.served.done()
        servicer.go_on.set()
        assert (await slow).text == "done"
        await running.served
        with pytest.raises(ServiceUnreachable):
            await running.probe.ask(ask())


async def test_a_draining_server_refuses_new_calls_and_health_says_so() -> None:
    servicer = Waiting()
    async with asyncio.timeout(15), Running(servicer, stream_grace=10, grace=10) as running:
        health = health_pb2_grpc.HealthStub(running.channel)
        check = health_pb2.HealthCheckRequest(service="heddle.kit.v1.Probe")
        assert (await health.Check(check)).status == health_pb2.HealthCheckResponse.SERVING
        watched = health.Watch(check)
        statuses = [(await watched.read()).status]
        slow = asyncio.ensure_future(running.probe.ask(ask()))
        await servicer.entered.wait()
        running.asked.set()
        await servicer.drain.started.wait()
        statuses.append((await watched.read()).status)
        assert statuses == [
            health_pb2.HealthCheckResponse.SERVING,
            health_pb2.HealthCheckResponse.NOT_SERVING,
        ]
        assert not running.server.is_ready
        watched.cancel()
        servicer.go_on.set()
        assert (await slow).text == "done"


async def test_a_call_that_comes_during_the_drain_is_told_to_go_elsewhere() -> None:
    servicer = Waiting()
    async with asyncio.timeout(15), Running(servicer) as running:
        servicer.drain.begin()
        with pytest.raises(Draining) as caught:
            await running.probe.ask(ask())
        assert caught.value.retry_after is not None
        with pytest.raises(Draining):
            async for _ in running.probe.watch(ask()):
                pass


async def test_what_does_not_end_by_itself_is_ended_with_draining() -> None:
    servicer = Waiting(watches=False)
    async with asyncio.timeout(15), Running(servicer, stream_grace=0.1, grace=0.2) as running:
        slow = asyncio.ensure_future(running.probe.ask(ask()))
        await servicer.entered.wait()
        with pytest.raises(Draining):
            async for _ in running.probe.watch(ask()):
                running.asked.set()
        with pytest.raises(Draining):
            await slow
        await running.served


async def test_a_doorbell_registered_after_the_start_rings_at_once() -> None:
    drain = Drain()
    drain.begin()
    doorbell = asyncio.Event()
    with drain.ringing(doorbell):
        assert doorbell.is_set()


async def test_an_idle_drain_is_over_at_once() -> None:
    async with asyncio.timeout(1):
        await Drain().finish(stream_grace=LONG, grace=LONG)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_the_server(number: signal.Signals) -> None:
    servicer = Waiting()
    server = serving(servicer, drain=servicer.drain)
    async with asyncio.timeout(10), asked_by_signal() as asked:
        os.kill(os.getpid(), number)
        await until_asked(server, asked)
    assert servicer.drain.started.is_set()
