"""One connection of one command: opened, given to the command, closed; and what goes wrong becomes an exit code."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import grpc
import typer

from heddle_cli.display.screen import Screen
from heddle_cli.faults import ExitCode, leave, told
from heddle_cli.options import Options, options_of
from heddle_cli.requests import ShownChannel
from heddle_client.over_grpc import GrpcAgentRuntime
from heddle_client.stubs import RuntimeStubs
from heddle_core.clock import SystemClock
from heddle_core.errors import ServiceUnreachable
from heddle_core.ids import Ids, TimeOrderedIds
from heddle_grpc.channel import Channel, open_channel
from heddle_grpc.settings import ChannelSettings


@dataclass(frozen=True)
class Session:
    """What a command works with."""

    runtime: GrpcAgentRuntime
    screen: Screen
    ids: Ids
    channel: grpc.aio.Channel
    """For the stubs of services beside the runtime."""

    @property
    def stubs(self) -> RuntimeStubs:
        """The services beside the facade."""
        return self.runtime.stubs

    def new_request_id(self) -> str:
        """An id for one request that changes something."""
        return self.ids.new("req")


Action = Callable[[Session], Awaitable[ExitCode | None]]
"""What a command does with its session; None means OK."""


def perform(context: typer.Context, action: Action) -> None:
    """Run a command's `action` on a connection by the shared options. Exits with its code when that is not OK."""
    options = options_of(context)
    screen = Screen(machine=options.machine)

    async def on_connection() -> ExitCode | None:
        async with open_session(options, screen) as session:
            return await action(session)

    with told(screen):
        leave(asyncio.run(on_connection()))


@asynccontextmanager
async def open_session(options: Options, screen: Screen) -> AsyncGenerator[Session]:
    """A session by `options`, connected. Closes the channel in the end.

    Raises ServiceUnreachable at once where nobody listens: a person who mistyped an address should not wait for
    the patience of streams.
    """
    limit = timedelta(seconds=options.timeout)
    settings = ChannelSettings(address=options.address, unary_deadline=limit)
    channel = open_channel(settings, token=(lambda: options.token) if options.token else None)
    shown = ShownChannel(channel, options.address, screen.note, token=bool(options.token))
    try:
        await _connect(channel, options)
        used = shown if options.show_request else channel
        runtime = GrpcAgentRuntime(RuntimeStubs.on(used), target=options.address, deadline=limit)
        yield Session(runtime, screen, TimeOrderedIds(SystemClock()), used)
    finally:
        await channel.close()


async def _connect(channel: Channel, options: Options) -> None:
    settled = (grpc.ChannelConnectivity.READY, grpc.ChannelConnectivity.TRANSIENT_FAILURE)
    try:
        async with asyncio.timeout(options.timeout):
            while (state := channel.get_state(try_to_connect=True)) not in settled:
                await channel.wait_for_state_change(state)
    except TimeoutError:
        problem = f"no connection within {options.timeout:g} s"
        raise ServiceUnreachable(options.address, problem) from None
    if state is not grpc.ChannelConnectivity.READY:
        raise ServiceUnreachable(options.address, "no connection")
