"""Calls under way at a client: those of grpc.aio, but what they raise is of Heddle's family of errors."""

from collections.abc import AsyncIterator, Callable, Generator
from typing import Any, cast

import grpc

from heddle_core.faults import HeddleError

FaultOf = Callable[[grpc.aio.AioRpcError, str], HeddleError]
"""Our error for one of gRPC's, from a call of that method."""


class _Delegating(grpc.aio.Call):
    """Everything of a call that is not its answers."""

    def __init__(self, raw: Any, method: str, fault_of: FaultOf) -> None:
        self._raw = raw
        self._method = method
        self._fault_of = fault_of

    def cancelled(self) -> bool:
        return self._raw.cancelled()

    def done(self) -> bool:
        return self._raw.done()

    def time_remaining(self) -> float | None:
        return self._raw.time_remaining()

    def cancel(self) -> bool:
        return self._raw.cancel()

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self._raw.add_done_callback(callback)

    async def initial_metadata(self) -> grpc.aio.Metadata:
        return await self._raw.initial_metadata()

    async def trailing_metadata(self) -> grpc.aio.Metadata:
        return await self._raw.trailing_metadata()

    async def code(self) -> grpc.StatusCode:
        return await self._raw.code()

    async def details(self) -> str:
        return await self._raw.details()

    async def wait_for_connection(self) -> None:
        try:
            await self._raw.wait_for_connection()
        except grpc.aio.AioRpcError as error:
            raise self._translated(error) from error

    def _translated(self, error: grpc.aio.AioRpcError) -> HeddleError:
        return self._fault_of(error, self._method)


class UnaryCall(_Delegating):
    """A call with one answer: await it."""

    def __await__(self) -> Generator[Any, None, Any]:
        try:
            return (yield from cast("Generator[Any, None, Any]", self._raw.__await__()))
        except grpc.aio.AioRpcError as error:
            raise self._translated(error) from error

    async def write(self, request: Any) -> None:
        """Send one more request, where the method takes a stream of them."""
        try:
            await self._raw.write(request)
        except grpc.aio.AioRpcError as error:
            raise self._translated(error) from error

    async def done_writing(self) -> None:
        """Say that no more requests come."""
        await self._raw.done_writing()


class StreamCall(_Delegating):
    """A call with a stream of answers: iterate it, and cancel it when leaving early."""

    def __init__(self, raw: Any, method: str, fault_of: FaultOf) -> None:
        super().__init__(raw, method, fault_of)
        self._answers: Any = None

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        if self._answers is None:
            self._answers = self._raw.__aiter__()
        try:
            return await self._answers.__anext__()
        except grpc.aio.AioRpcError as error:
            raise self._translated(error) from error

    async def read(self) -> Any:
        """The next answer, or grpc.aio.EOF. Not together with iteration."""
        try:
            return await self._raw.read()
        except grpc.aio.AioRpcError as error:
            raise self._translated(error) from error


class StreamStreamCall(StreamCall):
    """A call with streams both ways."""

    async def write(self, request: Any) -> None:
        """Send one more request."""
        try:
            await self._raw.write(request)
        except grpc.aio.AioRpcError as error:
            raise self._translated(error) from error

    async def done_writing(self) -> None:
        """Say that no more requests come."""
        await self._raw.done_writing()
