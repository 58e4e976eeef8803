"""Shows each call as a line that `buf curl` understands, for those who write a client of their own."""

import shlex
from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message


class ShownChannel(grpc.aio.Channel):
    """A channel that hands the line of every call to `show`, then makes the call on the channel behind it."""

    def __init__(self, behind: grpc.aio.Channel, address: str, show: Callable[[str], None], *, token: bool) -> None:
        """`token`: whether a credential is sent; the line names the variable that holds it, never the value."""
        self._behind = behind
        self._address = address
        self._show = show
        self._token = token
        self._last = ""

    def unary_unary(self, method: str, *arguments: Any, **options: Any) -> Any:
        return self._shown(self._behind.unary_unary(method, *arguments, **options), method)

    def unary_stream(self, method: str, *arguments: Any, **options: Any) -> Any:
        return self._shown(self._behind.unary_stream(method, *arguments, **options), method)

    def stream_unary(self, method: str, *arguments: Any, **options: Any) -> Any:
        return self._behind.stream_unary(method, *arguments, **options)

    def stream_stream(self, method: str, *arguments: Any, **options: Any) -> Any:
        return self._behind.stream_stream(method, *arguments, **options)

    async def close(self, grace: float | None = None) -> None:
        await self._behind.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self._behind.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        await self._behind.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        await self._behind.channel_ready()

    async def __aenter__(self) -> "ShownChannel":
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self.close()

    def _shown(self, call: Any, method: str) -> Any:
        def begin(request: Message, **options: Any) -> Any:
            line = curl_line(self._address, method, request, token=self._token)
            if line != self._last:  # A stream that is opened again is the same call to a reader.
                self._show(line)
            self._last = line
            return call(request, **options)

        return begin


def curl_line(address: str, method: str, request: Message, *, token: bool = False) -> str:
    """The shell command that makes the same call, by the contract that the server tells about itself.

    `method` is `/package.Service/Method`.
    """
    body = MessageToJson(request, preserving_proto_field_name=True, indent=None, ensure_ascii=False)
    words = ["buf", "curl", "--protocol", "grpc", "--http2-prior-knowledge"]
    if address.startswith("unix:"):
        words += ["--unix-socket", address.removeprefix("unix:")]
        address = "localhost"
    line = shlex.join([*words, "--data", body])
    # In double quotes, so that the shell fills it in.
    credential = ' --header "authorization: Bearer $HEDDLE_TOKEN"' if token else ""
    return f"{line}{credential} {shlex.quote(f'http://{address}{method}')}"
