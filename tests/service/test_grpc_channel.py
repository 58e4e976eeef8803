"""The client's side: retries, credentials, deadlines, and errors of our family."""

from typing import Any

import grpc
import pytest

from heddle_core.errors import CannotServe, Draining, ServiceUnreachable
from heddle_core.runtime_errors import RunNotFound
from heddle_grpc import calls
from heddle_grpc.channel import open_channel
from heddle_grpc.settings import ChannelSettings
from tests.kit.grpc_probe import Probe, Servicer, answer, ask, probing, reaching, serving


class Failing(Servicer):
    """Fails the first `times` calls with `error`."""

    def __init__(self, error: Exception, times: int) -> None:
        self.error = error
        self.times = times
        self.calls = 0

    async def Ask(self, request: Any, context: Any) -> Any:
        self.calls += 1
        if self.calls <= self.times:
            raise self.error
        return answer("done")


async def test_unavailable_is_tried_again_and_other_errors_are_not() -> None:
    for error, calls_made in ((Draining(), 3), (RunNotFound("r1"), 1)):
        servicer = Failing(error, times=2)
        server = serving(servicer)
        async with server.running(), reaching(server, attempts=4) as channel:
            if calls_made == 1:
                with pytest.raises(RunNotFound):
                    await Probe(channel).ask(ask())
            else:
                assert (await Probe(channel).ask(ask())).text == "done"
        assert servicer.calls == calls_made


async def test_a_channel_of_one_attempt_sends_nothing_twice() -> None:
    servicer = Failing(Draining(), times=9)
    server = serving(servicer)
    async with server.running(), reaching(server, attempts=1) as channel:
        with pytest.raises(Draining):
            await Probe(channel).ask(ask())
    assert servicer.calls == 1


async def test_a_server_that_is_not_there_is_named() -> None:
    async with serving().running() as server:
        address = f"127.0.0.1:{server.ports[0]}"
    async with open_channel(ChannelSettings(address=address, attempts=1)) as channel:
        with pytest.raises(ServiceUnreachable, match=address):
            await Probe(channel).ask(ask())
        with pytest.raises(ServiceUnreachable):
            async for _ in Probe(channel).watch(ask()):
                pass


def test_a_token_is_not_sent_in_plaintext_to_another_machine() -> None:
    settings = ChannelSettings(address="heddle.example:7450")
    with pytest.raises(CannotServe, match="plaintext"):
        open_channel(settings, token=lambda: "secret")


async def test_a_call_hands_its_ids_on_to_the_calls_made_within_it() -> None:
    seen: list[calls.Call] = []

    class Inner(Servicer):
        async def Ask(self, request: Any, context: Any) -> Any:
            seen.append(calls.current())
            return answer()

    inner = serving(Inner())
    async with inner.running(), reaching(inner) as to_inner:

        class Outer(Servicer):
            async def Ask(self, request: Any, context: Any) -> Any:
                return await Probe(to_inner).ask(request)

        traceparent = "00-" + "1" * 32 + "-" + "2" * 16 + "-00"
        async with probing(Outer()) as probe:
            await probe.ask(ask(), metadata=(("x-request-id", "mine"), ("traceparent", traceparent)))
            await probe.ask(ask())
    assert (seen[0].request_id, seen[0].traceparent) == ("mine", traceparent)
    assert seen[1].request_id != "mine"


async def test_an_error_of_an_inner_service_passes_through_unchanged() -> None:
    inner = serving(Failing(RunNotFound("r9"), times=9))
    async with inner.running(), reaching(inner) as to_inner:

        class Outer(Servicer):
            async def Ask(self, request: Any, context: Any) -> Any:
                return await Probe(to_inner).ask(request)

        async with probing(Outer()) as probe:
            with pytest.raises(RunNotFound, match="r9"):
                await probe.ask(ask())


async def test_a_call_can_be_read_and_written_by_hand() -> None:
    async with probing() as probe:
        stream = probe.talk(metadata=(("x-request-id", "mine"),))
        await stream.write(ask("one"))
        assert (await stream.read()).text == "one"
        await stream.done_writing()
        assert await stream.read() is grpc.aio.EOF
        assert await stream.code() is grpc.StatusCode.OK
        assert dict(await stream.initial_metadata())["x-request-id"] == "mine"
        collected = probe.collect()
        await collected.write(ask("a"))
        await collected.write(ask("b"))
        await collected.done_writing()
        assert (await collected).text == "a+b"
        assert collected.done()
