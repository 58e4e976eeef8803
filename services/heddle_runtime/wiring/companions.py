"""The services that share the runtime's process and port, as `heddle up` composes them. They call it over gRPC."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from heddle_core.clock import Clock
from heddle_grpc.companions import Companion, OpenCompanion
from heddle_grpc.drain import Drain
from heddle_grpc.routes import Service
from heddle_grpc.tool_routing import services_of
from heddle_runtime.tools.late_provider import LateProvider
from heddle_runtime.wiring.tools import provider_beside


@dataclass(slots=True)
class Beside:
    """The companions of one runtime, opened."""

    companions: list[Companion] = field(default_factory=list[Companion])
    providers: list[LateProvider] = field(default_factory=list[LateProvider])
    """Their tools, for every tenant."""
    address: str = ""

    @property
    def services(self) -> tuple[Service, ...]:
        """What they serve, their tools behind one ToolService. Raises CannotServe where they do not fit together."""
        return services_of(self.companions)

    @asynccontextmanager
    async def serving(self, address: str) -> AsyncGenerator[None]:
        """Have them do their own work, now that the server listens at `address`, until the block is left."""
        self.address = address
        async with AsyncExitStack() as stack:
            for each in self.companions:
                await stack.enter_async_context(each.serving())
            yield


@asynccontextmanager
async def beside_runtime(openers: Sequence[OpenCompanion], drain: Drain, clock: Clock) -> AsyncGenerator[Beside]:
    """Open the companions, and close them and their tools' channels in the end."""
    beside = Beside()
    async with AsyncExitStack() as stack:
        for opened in openers:
            companion = await stack.enter_async_context(opened(drain, lambda: beside.address))
            beside.companions.append(companion)
            if companion.tool_provider:
                provider = provider_beside(companion.tool_provider, lambda: beside.address, clock)
                stack.push_async_callback(provider.close)
                beside.providers.append(provider)
        yield beside
