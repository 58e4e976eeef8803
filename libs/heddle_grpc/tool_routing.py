"""Several providers of tools behind one port: the call's metadata says which of them is meant.

A port serves `heddle.tools.v1.ToolService` once, while each service composed onto it has tools of its own, and is a
provider of its own to the runtime. Why by metadata, and not by the tool's name: docs/adr/0023.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from typing import Protocol, cast

from heddle.tools.v1 import tool_service_pb2 as pb
from heddle_core.errors import CannotServe, invalid
from heddle_core.runtime_errors import ToolProviderNotFound
from heddle_grpc.calls import Context
from heddle_grpc.companions import Companion
from heddle_grpc.routes import Service

TOOL_SERVICE = "heddle.tools.v1.ToolService"

TOOL_PROVIDER_KEY = "heddle-tool-provider"
"""Metadata of ListTools and CallTool: the id under which the caller knows the provider."""


class ToolServicer(Protocol):
    """What serves one provider's tools."""

    async def ListTools(self, request: pb.ListToolsRequest, context: Context) -> pb.ListToolsResponse:
        """Its tools."""
        ...

    def CallTool(self, request: pb.CallToolRequest, context: Context) -> AsyncGenerator[pb.CallToolResponse, None]:
        """One call."""
        ...


class RoutedTools:
    """Serves ToolService for several providers; a call that names none is for the only one."""

    def __init__(self, providers: Mapping[str, ToolServicer]) -> None:
        self._providers = dict(providers)

    async def ListTools(self, request: pb.ListToolsRequest, context: Context) -> pb.ListToolsResponse:
        """The tools of the provider that is meant. Raises InvalidField, ToolProviderNotFound."""
        return await self._meant(context).ListTools(request, context)

    async def CallTool(
        self, request: pb.CallToolRequest, context: Context
    ) -> AsyncGenerator[pb.CallToolResponse, None]:
        """A call of the provider that is meant. Raises InvalidField, ToolProviderNotFound."""
        async with aclosing(self._meant(context).CallTool(request, context)) as responses:
            async for response in responses:
                yield response

    def _meant(self, context: Context) -> ToolServicer:
        named = [str(text) for key, text in context.invocation_metadata() or () if key == TOOL_PROVIDER_KEY]
        if len(named) > 1 or (not named and len(self._providers) != 1):
            remedy = (
                f"send it once, with the id of a provider that is served here: {', '.join(sorted(self._providers))}"
            )
            raise invalid(f"metadata {TOOL_PROVIDER_KEY}", remedy)
        found = self._providers.get(named[0]) if named else next(iter(self._providers.values()))
        if found is None:
            raise ToolProviderNotFound(named[0])
        return found


def services_of(companions: Sequence[Companion]) -> tuple[Service, ...]:
    """What companions serve on one port: their own services, and one ToolService for all who bring tools.

    Raises:
        CannotServe: two have the same provider id, or other rules for the same RPC; or one has tools and no id, or an
            id and no tools.
    """
    own = tuple(each for companion in companions for each in companion.services if each.name != TOOL_SERVICE)
    with_tools: dict[str, Service] = {}
    for companion in companions:
        served = [each for each in companion.services if each.name == TOOL_SERVICE]
        provider_id = companion.tool_provider
        if len(served) != bool(provider_id):
            problem = f"provider {provider_id!r} brings {len(served)} of it"
            raise CannotServe(TOOL_SERVICE, problem, "give each companion with tools one ToolService and an id")
        if provider_id in with_tools:
            raise CannotServe(TOOL_SERVICE, f"two companions call themselves {provider_id}", "rename one of them")
        if served:
            with_tools[provider_id] = served[0]
    if not with_tools:
        return own
    rules = next(iter(with_tools.values())).rules
    if any(each.rules != rules for each in with_tools.values()):
        problem = f"{', '.join(with_tools)} ask for different scopes"
        raise CannotServe(TOOL_SERVICE, problem, "let all of them ask for the same")
    servicers = {id: cast(ToolServicer, each.servicer) for id, each in with_tools.items()}
    return (*own, Service(TOOL_SERVICE, RoutedTools(servicers), rules))
