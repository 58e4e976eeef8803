"""What every call goes through, in order: drain, identity, scope, admission, deadline, validation, handler.

One wrapper per method instead of a chain of interceptors, because each grpc.aio interceptor costs a coroutine
per call. The jobs themselves stand in files of their own; this one only orders them.
"""

import asyncio
import inspect
import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeAlias, cast

import grpc
from google.protobuf.message import Message

from heddle_core.errors import Draining, NotServed, RequestTooLarge, ResponseTooLarge
from heddle_core.faults import HeddleError
from heddle_core.ids import Ids
from heddle_core.runtime_errors import SlowReader
from heddle_grpc import aborts, calls
from heddle_grpc.call_metrics import CallMetrics
from heddle_grpc.callers import Callers
from heddle_grpc.calls import Call, Context
from heddle_grpc.drain import Drain
from heddle_grpc.limits import Admission, Lane
from heddle_grpc.readers import Readers
from heddle_grpc.routes import Behaviour, Route
from heddle_grpc.validation import Validation

# In quotes, because these classes are generic in their stubs only.
MethodHandler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"


@dataclass(frozen=True)
class CallPolicy:
    """The numbers that hold for every call of a server."""

    request_bytes: int = 4 << 20
    response_bytes: int = 3 << 20
    """Of one message. Stock clients accept 4 MiB; the rest is room for what wraps an answer on its way."""
    unary_deadline: timedelta = timedelta(seconds=30)
    """For a unary call whose client set none. Streams have none."""
    log_ok_calls: bool = False


@dataclass(frozen=True)
class Pipeline:
    """Makes the handlers of one server out of its parts."""

    policy: CallPolicy
    callers: Callers
    validation: Validation
    admission: Admission
    drain: Drain
    readers: Readers
    metrics: CallMetrics
    ids: Ids

    def handler(self, route: Route) -> MethodHandler:
        """The gRPC handler of one route."""
        read = self._reader(route.request)
        serialized = _serializer(self.policy.response_bytes)
        behaviour = route.behaviour or _unserved(route)
        if route.gives_stream:
            serve = self._stream(route, behaviour, None if route.takes_stream else read)
        else:
            serve = self._unary(route, behaviour, None if route.takes_stream else read, serialized)
        return _MAKERS[route.takes_stream, route.gives_stream](
            serve,
            # gRPC answers UNKNOWN when one of these raises before or after the handler, so they are given
            # only where they run within it.
            request_deserializer=read if route.takes_stream else None,
            response_serializer=serialized if route.gives_stream else None,
        )

    def unknown(self, path: str) -> MethodHandler:
        """A handler for a method that no service here has, of whatever kind its client thinks it is."""
        refusal = NotServed(path, "check the method's name and this server's version")

        async def serve(_requests: object, context: Context) -> None:
            # Under one name: a client could otherwise make as many time series as it likes.
            self.metrics.record("unknown", refusal.status.name, 0.0)
            await aborts.abort(context, refusal)

        return grpc.stream_stream_rpc_method_handler(serve)

    def _unary(
        self,
        route: Route,
        behaviour: Behaviour,
        read: Callable[[bytes], Message] | None,
        serialized: Callable[[Message], bytes],
    ) -> Callable[[Any, Context], Any]:
        lanes = self._lanes(route)
        unary_deadline = self.policy.unary_deadline.total_seconds()
        drain, opened = self.drain, self._opener(route)
        loop = asyncio.get_running_loop()

        async def serve(incoming: Any, context: Context) -> bytes:
            began = loop.time()
            remaining = _remaining(context)
            limit = began + (unary_deadline if remaining is None else remaining)
            # A client's own deadline is kept by gRPC, which then cancels this task.
            scope = asyncio.timeout_at(limit if remaining is None else None)
            call, code, reason = None, "OK", ""
            try:
                call = opened(context, limit)
                with _Admitted(lanes, call.identity.tenant):
                    async with scope:
                        drain.enter(scope, streaming=False)
                        if call.request_id_was_sent:  # Only then: it is a write of its own.
                            await context.send_initial_metadata(((calls.REQUEST_ID_KEY, call.request_id),))
                        request = incoming if read is None else read(incoming)
                        return serialized(await behaviour(request, context))
            except asyncio.CancelledError:
                code = "CANCELLED"
                raise
            except aborts.ENDED_ALREADY:
                code = "ENDED_BY_HANDLER"
                raise
            except Exception as error:
                fault = self._fault(error, route, scope)
                code, reason = fault.status.name, fault.reason
                await aborts.abort(context, fault, request_id=call.request_id if call else "")
            finally:
                drain.leave(scope)
                self._ended(route, call, code, reason, loop.time() - began)

        return serve

    def _stream(
        self, route: Route, behaviour: Behaviour, read: Callable[[bytes], Message] | None
    ) -> Callable[[Any, Context], Any]:
        lanes = self._lanes(route)
        drain, readers, opened = self.drain, self.readers, self._opener(route)
        loop = asyncio.get_running_loop()
        deliver = self._written if inspect.isasyncgenfunction(behaviour) else _awaited

        async def serve(incoming: Any, context: Context) -> None:
            began = loop.time()
            remaining = _remaining(context)
            scope = asyncio.timeout(None)
            call, code, reason = None, "OK", ""
            try:
                call = opened(context, None if remaining is None else began + remaining)
                with _Admitted(lanes, call.identity.tenant):
                    async with scope:
                        drain.enter(scope, streaming=True)
                        if call.request_id_was_sent:
                            await context.send_initial_metadata(((calls.REQUEST_ID_KEY, call.request_id),))
                        request = incoming if read is None else read(incoming)
                        await deliver(behaviour(request, context), context, scope)
            except asyncio.CancelledError:
                code = "CANCELLED"
                raise
            except aborts.ENDED_ALREADY:
                code = "ENDED_BY_HANDLER"
                raise
            except Exception as error:
                fault = self._fault(error, route, scope)
                code, reason = fault.status.name, fault.reason
                await aborts.abort(context, fault, request_id=call.request_id if call else "")
            finally:
                drain.leave(scope)
                readers.forget(scope)
                self._ended(route, call, code, reason, loop.time() - began)

        return serve

    async def _written(self, answers: AsyncIterator[Message], context: Context, scope: asyncio.Timeout) -> None:
        """Write each answer. However this ends, the handler's generator has been closed when it returns."""
        readers = self.readers
        now = asyncio.get_running_loop().time
        assert inspect.isasyncgen(answers)
        try:
            async for answer in answers:
                readers.write_begins(scope, now())
                await context.write(answer)
                readers.write_ends(scope)
        except asyncio.CancelledError:
            if not readers.has_stalled(scope):
                raise
            # The handler knows the cursor: it may catch this where it yields, and raise its own.
            with suppress(StopAsyncIteration):
                await answers.athrow(SlowReader(0))
            raise SlowReader(0) from None
        finally:
            readers.write_ends(scope)
            await answers.aclose()

    def _opener(self, route: Route) -> Callable[[Context, float | None], Call]:
        """What looks at a call before anything is done for it; it also makes the call the current one."""
        drain, callers = self.drain, self.callers
        path, rule, exempt = route.path, route.rule, route.exempt
        prefix, numbers = self.ids.new("call"), itertools.count(1)

        def opened(context: Context, deadline: float | None) -> Call:
            if not exempt and drain.started.is_set():
                raise Draining()
            headers = callers.headers_of(context)
            identity = callers.identify(headers, context, rule, method=path)
            sent = calls.accepted_request_id(headers.request_id)
            call = Call(
                path,
                identity,
                sent or f"{prefix}-{next(numbers)}",
                calls.accepted_traceparent(headers.traceparent),
                deadline,
                bool(sent),
            )
            calls.enter(call)
            return call

        return opened

    def _reader(self, request: type[Message]) -> Callable[[bytes], Message]:
        limit = self.policy.request_bytes
        read = self.validation.reader(request).read

        def checked(raw: bytes) -> Message:
            if len(raw) > limit:
                raise RequestTooLarge(len(raw), limit)
            return read(raw)

        return checked

    def _lanes(self, route: Route) -> tuple[Lane, ...]:
        if route.exempt:
            return ()
        return self.admission.lanes(route.path, streaming=route.gives_stream or route.takes_stream)

    def _fault(self, error: Exception, route: Route, scope: asyncio.Timeout) -> HeddleError:
        if isinstance(error, TimeoutError) and scope.expired():
            return aborts.expired(route.path, draining=self.drain.started.is_set())
        return aborts.fault_of(error, route.path, self.ids)

    def _ended(self, route: Route, call: Call | None, code: str, reason: str, seconds: float) -> None:
        self.metrics.record(route.path, code, seconds)
        if code != "OK" or self.policy.log_ok_calls:
            calls.log_end(call or Call(route.path), code=code, reason=reason, seconds=seconds)


class _Admitted:
    """Stands in every lane while the block lasts, or in none."""

    __slots__ = ("_entered", "_lanes", "_tenant")

    def __init__(self, lanes: Sequence[Lane], tenant: str) -> None:
        self._lanes = lanes
        self._tenant = tenant
        self._entered = 0

    def __enter__(self) -> None:
        try:
            for lane in self._lanes:
                lane.enter(self._tenant)
                self._entered += 1
        except HeddleError:
            self.__exit__()
            raise

    def __exit__(self, *_exception: object) -> None:
        for lane in self._lanes[: self._entered]:
            lane.leave(self._tenant)


def _remaining(context: Context) -> float | None:
    """Seconds until the client's deadline; the stubs do not know that there may be none."""
    return cast("float | None", context.time_remaining())


_MAKERS: dict[tuple[bool, bool], Callable[..., MethodHandler]] = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


def _serializer(limit: int) -> Callable[[Message | bytes], bytes]:
    def serialized(message: Message | bytes) -> bytes:
        raw = message if isinstance(message, bytes) else message.SerializeToString()
        if len(raw) > limit:
            raise ResponseTooLarge(len(raw), limit)
        return raw

    return serialized


def _unserved(route: Route) -> Behaviour:
    async def refuse(_request: object, _context: Context) -> Message:
        raise NotServed(route.path, "this server knows the method but does not implement it")

    return refuse


async def _awaited(running: Any, _context: Context, _scope: asyncio.Timeout) -> None:
    """For handlers that write to the context themselves."""
    await running
