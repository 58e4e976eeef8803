"""Streams whose client goes away, stops reading or outlives the server."""

import asyncio
from datetime import timedelta
from typing import Any

import grpc
import pytest

from heddle_core.errors import Draining, Overloaded
from heddle_core.runtime_errors import SlowReader
from tests.kit.grpc_probe import Probe, Servicer, answer, ask, local, probing, probing_raw, reaching, serving
from tests.kit.log_capture import capture_logs

SHORT = timedelta(seconds=0.2)


class Endless(Servicer):
    """Yields without end, or waits after its first answer; notes how it was left."""

    def __init__(self, *, waits: bool) -> None:
        self.waits = waits
        self.left: list[str] = []
        self.entered = asyncio.Event()
        self.released = asyncio.Event()

    async def Watch(self, request: Any, context: Any) -> Any:
        try:
            while True:
                yield answer("x" * 1000)
                if self.waits:
                    await asyncio.Event().wait()
        except BaseException as error:
            self.left.append(type(error).__name__)
            raise
        finally:
            self.released.set()

    async def Ask(self, request: Any, context: Any) -> Any:
        self.entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.released.set()


@pytest.mark.parametrize("waits", [True, False], ids=["while it waits", "while it yields"])
async def test_a_client_that_cancels_mid_stream_releases_the_handler(waits: bool) -> None:
    servicer = Endless(waits=waits)
    server = serving(servicer)
    with capture_logs() as logs:
        async with server.running(), reaching(server) as channel:
            stream = Probe(channel).watch(ask())
            async for _ in stream:
                break
            stream.cancel()
            async with asyncio.timeout(5):
                await servicer.released.wait()
                await server.drain.finish(stream_grace=SHORT, grace=SHORT)
            assert server.drain.under_way == 0
    assert servicer.left[0] in {"CancelledError", "GeneratorExit"}
    assert not [line for line in logs if line["event"] == "internal fault"]
    codes = [line["code"] for line in logs if line["event"] == "call"]
    assert codes in (["CANCELLED"], ["ENDED_BY_HANDLER"])


async def test_a_client_that_cancels_a_unary_call_releases_the_handler() -> None:
    servicer = Endless(waits=True)
    async with probing(servicer) as probe:
        call = asyncio.ensure_future(probe.ask(ask()))
        async with asyncio.timeout(5):
            await servicer.entered.wait()
            call.cancel()
            await servicer.released.wait()
        with pytest.raises(asyncio.CancelledError):
            await call


async def test_a_client_whose_connection_ends_releases_the_handler() -> None:
    servicer = Endless(waits=True)
    server = serving(servicer)
    async with server.running():
        async with reaching(server) as channel:
            async for _ in Probe(channel).watch(ask()):
                break
        async with asyncio.timeout(5):
            await servicer.released.wait()


async def test_a_reader_that_stalls_is_cut_with_the_handlers_cursor() -> None:
    class Flooding(Servicer):
        sent = 0
        cut = asyncio.Event()

        async def Watch(self, request: Any, context: Any) -> Any:
            try:
                while True:
                    yield answer("x" * (1 << 20), self.sent)
                    self.sent += 1
            except SlowReader as stalled:
                self.cut.set()
                raise SlowReader(self.sent) from stalled

    servicer = Flooding()
    async with probing(servicer, settings=local(calls={"write_patience": 0.2})) as probe:
        stream = probe.watch(ask())
        await stream.initial_metadata()
        async with asyncio.timeout(10):
            await servicer.cut.wait()
        with pytest.raises(SlowReader) as caught:
            async for _ in stream:
                pass
    assert caught.value.resume_after_sequence == servicer.sent > 0


async def test_a_stalled_reader_is_cut_even_if_the_handler_knows_nothing_of_it() -> None:
    class Flooding(Servicer):
        closed = asyncio.Event()

        async def Watch(self, request: Any, context: Any) -> Any:
            try:
                while True:
                    yield answer("x" * (1 << 20))
            finally:
                self.closed.set()

    servicer = Flooding()
    async with probing(servicer, settings=local(calls={"write_patience": 0.2})) as probe:
        stream = probe.watch(ask())
        await stream.initial_metadata()
        async with asyncio.timeout(10):
            await servicer.closed.wait()
        with pytest.raises(SlowReader):
            async for _ in stream:
                pass


async def test_a_handler_that_takes_the_cut_for_a_plain_end_is_cut_all_the_same() -> None:
    class Shrugging(Servicer):
        left = asyncio.Event()

        async def Watch(self, request: Any, context: Any) -> Any:
            try:
                while True:
                    yield answer("x" * (1 << 20))
            except SlowReader:
                self.left.set()

    servicer = Shrugging()
    async with probing(servicer, settings=local(calls={"write_patience": 0.2})) as probe:
        stream = probe.watch(ask())
        await stream.initial_metadata()
        async with asyncio.timeout(10):
            await servicer.left.wait()
        with pytest.raises(SlowReader):
            async for _ in stream:
                pass


async def test_streams_are_counted_apart_from_unary_calls() -> None:
    settings = local(calls={"streams": 1, "unary": 1})
    async with probing(Endless(waits=True), settings=settings) as probe:
        open_stream = probe.watch(ask())
        async for _ in open_stream:
            break
        with pytest.raises(Overloaded) as caught:
            async for _ in probe.watch(ask()):
                pass
        assert caught.value.limit == 1
        open_stream.cancel()
    async with probing(settings=settings) as probe:
        assert (await probe.ask(ask("x"))).text == "x"


async def test_a_handler_that_writes_to_the_context_itself_is_served_too() -> None:
    class Writing(Servicer):
        async def Watch(self, request: Any, context: Any) -> None:
            await context.write(answer(number=1))
            await context.write(answer(number=2))
            raise Draining

    numbers = []
    async with probing_raw(Writing()) as probe:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for each in probe.watch(ask()):
                numbers.append(each.number)
    assert (numbers, caught.value.code()) == ([1, 2], grpc.StatusCode.UNAVAILABLE)
