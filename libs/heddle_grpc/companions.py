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


Address = Callable[[], str]
"""Where the server listens; known once it runs."""

OpenCompanion = Callable[[Drain, Address], AbstractAsyncContextManager[Companion]]
"""Opens a service for the server that goes away by this drain."""
