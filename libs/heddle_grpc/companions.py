"""Services that are served in one process and on one port with another: what they bring, and what they are given."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from heddle_core.values import value
from heddle_grpc.drain import Drain
from heddle_grpc.routes import Service


@value
class Companion:
    """One such service, opened."""

    services: tuple[Service, ...]
    serving: Callable[[], AbstractAsyncContextManager[None]]
    """What it does by itself; entered once the server runs, and left before the server goes away."""
    tool_provider: str = ""
    """The id under which the ToolService among its services is known to everybody; empty: it has none. Several
    companions may have one each: see `heddle_grpc.tool_routing`."""


@value
class WayIn:
    """How a companion calls the server that it is part of."""

    address: str
    """Of a socket that only this process can open. It listens once the server runs."""
    mint: Callable[[str], str]
    """Gives a credential to the companion of that name, by which it may act for whoever it works for."""


OpenCompanion = Callable[[Drain, WayIn], AbstractAsyncContextManager[Companion]]
"""Opens a service for the server that goes away by this drain."""
