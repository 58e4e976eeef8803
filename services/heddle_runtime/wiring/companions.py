"""The services that share the runtime's process and port, as `heddle up` composes them. They call it over gRPC.

Inside the process they come through a socket of their own, in a folder that is closed to everybody else, and each with
a credential that is minted at the start: so they need no secret of the deployment's, whatever callers show outside.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from heddle_core.clock import Clock
from heddle_grpc.companions import Companion, OpenCompanion, WayIn
from heddle_grpc.drain import Drain
from heddle_grpc.identity import ACT_AS
from heddle_grpc.process_keys import ProcessKeys
from heddle_grpc.routes import Service
from heddle_grpc.tool_routing import services_of
from heddle_runtime.rpc.scopes import READ, RUN
from heddle_runtime.tools.port import ToolProvider
from heddle_runtime.wiring.inside import inside_socket
from heddle_runtime.wiring.tools import provider_beside


@dataclass(slots=True)
class Beside:
    """The companions of one runtime, opened."""

    keys: ProcessKeys
    """What their credentials are verified with."""
    socket: str | None = None
    """Where they and the runtime reach each other; None without any."""
    companions: list[Companion] = field(default_factory=list[Companion])
    providers: list[ToolProvider] = field(default_factory=list[ToolProvider])
    """Their tools, for every tenant."""

    @property
    def services(self) -> tuple[Service, ...]:
        """What they serve, their tools behind one ToolService. Raises CannotServe where they do not fit together."""
        return services_of(self.companions)

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[None]:
        """Have them do their own work, now that the server listens, until the block is left."""
        async with AsyncExitStack() as stack:
            for each in self.companions:
                await stack.enter_async_context(each.serving())
            yield


@asynccontextmanager
async def beside_runtime(openers: Sequence[OpenCompanion], drain: Drain, clock: Clock) -> AsyncGenerator[Beside]:
    """Open the companions, and close them and their tools' channels in the end."""
    beside = Beside(ProcessKeys())
    async with AsyncExitStack() as stack:
        if openers:
            beside.socket = stack.enter_context(inside_socket())
            way = WayIn(beside.socket, lambda name: beside.keys.mint(name, (RUN, READ, ACT_AS)))
            token = beside.keys.mint("runtime", (ACT_AS,))
            for opened in openers:
                companion = await stack.enter_async_context(opened(drain, way))
                beside.companions.append(companion)
                if companion.tool_provider:
                    provider = provider_beside(companion.tool_provider, beside.socket, token, clock)
                    stack.push_async_callback(provider.close)
                    beside.providers.append(provider)
        yield beside
