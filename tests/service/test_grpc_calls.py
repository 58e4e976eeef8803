"""What a client meets at a real server: answers, and errors in words that it can act on."""

import random
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from heddle_core.errors import CallCancelled, InternalFault, InvalidField, NotServed, RequestTooLarge, ResponseTooLarge
from heddle_core.faults import HeddleError
from heddle_core.reasons import all_reasons
from heddle_core.runtime_errors import RunNotFound
from heddle_grpc import calls
from tests.kit.grpc_probe import Probe, Servicer, answer, ask, local, probing, probing_raw
from tests.kit.log_capture import capture_logs
from tests.unit.test_grpc_errors import sample

MIB = 1 << 20


class Raising(Servicer):
    """Raises what the test puts here, in each kind of method; in a stream, after one answer."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error

    async def Ask(self, request: Any, context: Any) -> Any:
        assert self.error is not None
        raise self.error

    async def Watch(self, request: Any, context: Any) -> Any:
        yield answer(number=1)
        assert self.error is not None
        raise self.error

    async def Collect(self, requests: Any, context: Any) -> Any:
        async for _ in requests:
            pass
        return await self.Ask(None, context)

    async def Talk(self, requests: Any, context: Any) -> Any:
        async for _ in requests:
            yield answer(number=1)
        assert self.error is not None
        raise self.error


async def one_request() -> Any:
    yield ask("x")


async def told(probe: Probe, method: str) -> tuple[HeddleError, int]:
    """The error that one method ends with, and how many answers came before it."""
    answers = 0
    with pytest.raises(HeddleError) as caught:
        match method:
            case "ask":
                await probe.ask(ask())
            case "collect":
                await probe.collect(one_request())
            case "watch":
                async for _ in probe.watch(ask()):
                    answers += 1
            case _:
                async for _ in probe.talk(one_request()):
                    answers += 1
    return caught.value, answers


@pytest.mark.parametrize(("method", "before"), [("ask", 0), ("collect", 0), ("watch", 1), ("talk", 1)])
async def test_every_error_of_the_family_reaches_the_client_as_itself(method: str, before: int) -> None:
    servicer = Raising()
    async with probing(servicer) as probe:
        for family in all_reasons().values():
            servicer.error = sample(family)
            error, answers = await told(probe, method)
            assert (type(error), str(error), error.metadata, answers) == (
                family,
                str(servicer.error),
                servicer.error.metadata,
                before,
            )


@pytest.mark.parametrize("method", ["ask", "collect", "watch", "talk"])
async def test_an_unexpected_exception_tells_an_incident_and_nothing_else(method: str) -> None:
    async with probing(Raising(ValueError("the password is hunter2"))) as probe:
        with capture_logs() as logs:
            error, _ = await told(probe, method)
    assert isinstance(error, InternalFault)
    assert "hunter2" not in str(error)
    fault = next(line for line in logs if line["event"] == "internal fault")
    assert fault["incident"] == error.incident
    assert "hunter2" in str(fault["exc_info"])
    assert fault["exc_info"].__traceback__ is not None


async def test_an_error_of_python_that_means_timeout_is_no_deadline() -> None:
    async with probing(Raising(TimeoutError())) as probe:
        assert isinstance((await told(probe, "ask"))[0], InternalFault)


async def test_a_client_without_heddle_reads_the_standard_details() -> None:
    async with probing_raw(Raising(RunNotFound("r1"))) as probe:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await probe.ask(ask())
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    trailing = dict(caught.value.trailing_metadata())
    status = status_pb2.Status.FromString(trailing["grpc-status-details-bin"])
    assert (status.code, status.message) == (5, caught.value.details())
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain, dict(info.metadata)) == (
        "RUN_NOT_FOUND",
        "heddle",
        {"kind": "run", "id": "r1"},
    )


async def test_a_retryable_error_tells_grpc_when_to_retry() -> None:
    async with probing_raw(Raising(sample(all_reasons()["STORE_UNAVAILABLE"]))) as probe:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await probe.ask(ask())
    assert dict(caught.value.trailing_metadata())["grpc-retry-pushback-ms"] == "1000"


async def test_cancelled_by_the_server_does_not_look_like_a_cancellation_of_the_client() -> None:
    async with probing(Raising(CallCancelled())) as probe:
        for method in ("ask", "watch"):
            assert isinstance((await told(probe, method))[0], CallCancelled)


async def test_a_request_is_validated_before_the_handler_sees_it() -> None:
    async with probing(Raising(ValueError("reached the handler"))) as probe:
        with pytest.raises(InvalidField) as caught:
            await probe.ask(ask(request_id="no good", thread_id="."))
        assert [each.field for each in caught.value.violations] == ["request_id", "thread_id"]
        with pytest.raises(InvalidField):
            async for _ in probe.watch(ask(thread_id=".")):
                pass


async def test_each_request_of_a_stream_is_validated() -> None:
    async def requests() -> Any:
        yield ask("good")
        yield ask("bad", thread_id=".")

    async with probing() as probe:
        with pytest.raises(InvalidField, match="thread_id"):
            await probe.collect(requests())
        seen = []
        with pytest.raises(InvalidField, match="thread_id"):
            async for each in probe.talk(requests()):
                seen.append(each.text)
        assert seen == ["good"]


async def test_methods_that_are_not_here_say_so() -> None:
    async with probing() as probe:
        with pytest.raises(NotServed, match="Probe/Missing"):
            await probe.missing(ask())
        with pytest.raises(NotServed, match="Probe/Unknown"):
            await probe.unknown(ask())
        with pytest.raises(NotServed, match=r"no\.such\.Service"):
            async for _ in probe.unknown_stream(ask()):
                pass


async def test_a_request_over_the_limit_is_refused_with_both_numbers() -> None:
    async with probing(settings=local(calls={"request_bytes": 1000})) as probe:
        with pytest.raises(RequestTooLarge) as caught:
            await probe.ask(ask("x" * 2000))
        assert caught.value.limit == 1000
        assert caught.value.size > 2000
        assert (await probe.ask(ask("small"))).text == "small"


async def test_a_request_far_over_the_limit_is_refused_by_the_transport() -> None:
    async with probing() as probe:
        with pytest.raises(RequestTooLarge) as caught:
            await probe.ask(ask("x" * (6 * MIB)))
        assert caught.value.size > 6 * MIB
        assert (await probe.ask(ask("small"))).text == "small"


async def test_an_answer_over_the_limit_is_refused_and_the_stream_before_it_arrives() -> None:
    class Large(Servicer):
        async def Ask(self, request: Any, context: Any) -> Any:
            return answer("x" * (3 * MIB))

        async def Watch(self, request: Any, context: Any) -> Any:
            yield answer(number=1)
            yield answer("x" * (3 * MIB))

    async with probing(Large()) as probe:
        for method, before in (("ask", 0), ("watch", 1)):
            error, answers = await told(probe, method)
            assert isinstance(error, ResponseTooLarge)
            assert (error.limit, answers) == (3 * MIB, before)


async def test_an_answer_just_within_the_limit_reaches_a_stock_client() -> None:
    class Large(Servicer):
        async def Ask(self, request: Any, context: Any) -> Any:
            return answer("x" * (3 * MIB - 100))

    async with probing_raw(Large()) as probe:
        assert len((await probe.ask(ask())).text) == 3 * MIB - 100


async def test_a_handler_knows_the_call_it_serves() -> None:
    seen: list[calls.Call] = []

    class Curious(Servicer):
        async def Ask(self, request: Any, context: Any) -> Any:
            seen.append(calls.current())
            return answer()

        async def Watch(self, request: Any, context: Any) -> Any:
            seen.append(calls.current())
            yield answer()

    traceparent = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"
    metadata = (("x-request-id", "my-id"), ("traceparent", traceparent))
    async with probing_raw(Curious()) as probe:
        call = probe.ask(ask(), metadata=metadata, timeout=5)
        assert dict(await call.initial_metadata())["x-request-id"] == "my-id"
        await call
        stream = probe.watch(ask(), metadata=(("x-request-id", "other-id"),))
        assert dict(await stream.initial_metadata())["x-request-id"] == "other-id"
        async for _ in stream:
            pass
        await probe.ask(ask(), metadata=(("x-request-id", "spaces are no good"), ("traceparent", "nor this")))
    first, second, third = seen
    assert (first.method, first.identity.tenant) == ("/heddle.kit.v1.Probe/Ask", "acme")
    assert (first.request_id, first.traceparent) == ("my-id", traceparent)
    assert first.deadline is not None
    assert (second.request_id, second.deadline) == ("other-id", None)
    assert third.request_id not in {"", "spaces are no good", "my-id"}
    assert third.traceparent == ""


async def test_a_refused_call_tells_its_id_and_is_logged_and_a_good_one_is_not() -> None:
    async with probing_raw() as probe:
        with capture_logs() as logs:
            await probe.ask(ask("x"))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await probe.ask(ask(thread_id="."))
            lines = await logs.of("call", 1)
    request_id = dict(caught.value.trailing_metadata())["x-request-id"]
    assert [(line["code"], line["reason"], line["request_id"]) for line in lines] == [
        ("INVALID_ARGUMENT", "INVALID_FIELD", request_id)
    ]


async def test_good_calls_are_logged_when_asked() -> None:
    async with probing(settings=local(calls={"log_ok_calls": True})) as probe:
        with capture_logs() as logs:
            await probe.ask(ask("x"))
            async for _ in probe.watch(ask()):
                pass
            lines = await logs.of("call", 2)
    assert [line["code"] for line in lines] == ["OK", "OK"]


async def test_nothing_that_a_client_sends_yields_internal_or_unknown() -> None:
    seed = 20261123
    dice = random.Random(seed)
    good = ask("hello", thread_id="t1", labels={"a": "b"}, schema_json="{}").SerializeToString()
    refused = 0
    async with probing_raw() as probe:
        for number in range(300):
            raw = bytearray(good)
            for _ in range(dice.randint(1, 6)):
                raw[dice.randrange(len(raw))] = dice.randrange(256)
            metadata = [("x-request-id", "".join(chr(dice.randint(33, 126)) for _ in range(9)))]
            if number % 7 == 0:
                metadata.append(("heddle-act-as", "".join(chr(dice.randint(33, 126)) for _ in range(9))))
            try:
                await probe.ask(bytes(raw), metadata=tuple(metadata))
                async for _ in probe.watch(bytes(raw)):
                    pass
            except grpc.aio.AioRpcError as error:
                refused += 1
                allowed = {grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.PERMISSION_DENIED}
                assert error.code() in allowed, (seed, number, bytes(raw), error.details())
    assert refused > 50


async def test_a_handler_may_end_its_call_the_way_of_grpc() -> None:
    class Aborting(Servicer):
        async def Ask(self, request: Any, context: Any) -> Any:
            await context.abort(grpc.StatusCode.ABORTED, "by hand")

    async with probing_raw(Aborting()) as probe:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await probe.ask(ask())
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.ABORTED, "by hand")
