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
    """The id under which its tools are known to everybody; empty: it has none."""


Address = Callable[[], str]
"""Where the server listens; known once it runs."""

OpenCompanion = Callable[[Drain, Address], AbstractAsyncContextManager[Companion]]
"""Opens a service for the server that goes away by this drain."""
