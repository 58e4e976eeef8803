"""ToolProviderService as gRPC sees it: decode, hand to the facade, encode. Nothing is decided here."""

from collections.abc import Mapping

from heddle.runtime.v1 import agent_pb2
from heddle.runtime.v1 import tool_provider_service_pb2 as pb
from heddle_core.errors import invalid
from heddle_core.ids import is_id
from heddle_core.values import value
from heddle_grpc.authorization import Rule
from heddle_grpc.calls import Context
from heddle_grpc.masks import fields_named
from heddle_grpc.paging import order_asked
from heddle_runtime.codec.agents import offered_tool_message, provider_message
from heddle_runtime.facade.provider_commands import (
    CreateProvider,
    DeleteProvider,
    ProviderRow,
    ProviderView,
    UpdateProvider,
)
from heddle_runtime.facade.providers import ToolProviders
from heddle_runtime.rpc.paging import page_asked, page_given
from heddle_runtime.rpc.requests import caller, request_key
from heddle_runtime.rpc.scopes import MANAGE, READ
from heddle_runtime.tools.declarations import MOST_TOOLS
from heddle_runtime.tools.declarations import NAME as TOOL_NAME
from heddle_runtime.tools.port import ToolSpec

NAME = "heddle.runtime.v1.ToolProviderService"

RULES: Mapping[str, Rule] = {
    "CreateToolProvider": MANAGE,
    "GetToolProvider": READ,
    "ListToolProviders": READ,
    "UpdateToolProvider": MANAGE,
    "DeleteToolProvider": MANAGE,
    "RefreshToolProvider": MANAGE,
    "ListTools": READ,
}
"""Which scope each RPC asks for."""

_CHANGEABLE = ("grpc_target", "allowed_tools")
_MOST_TARGET = 256


@value
class ToolProviderServicer:
    """Where agents' tools come from."""

    providers: ToolProviders

    async def CreateToolProvider(
        self, request: pb.CreateToolProviderRequest, context: Context
    ) -> pb.CreateToolProviderResponse:
        """Register a provider."""
        row = _row(request.provider, _CHANGEABLE)
        command = CreateProvider(caller(context), request_key("CreateToolProvider", request), row)
        view = await self.providers.create(command)
        return pb.CreateToolProviderResponse(provider=provider_message(view))

    async def GetToolProvider(self, request: pb.GetToolProviderRequest, context: Context) -> pb.GetToolProviderResponse:
        """A provider."""
        view = await self.providers.get(caller(context).tenant, request.provider_id)
        return pb.GetToolProviderResponse(provider=provider_message(view))

    async def ListToolProviders(
        self, request: pb.ListToolProvidersRequest, context: Context
    ) -> pb.ListToolProvidersResponse:
        """A page of providers."""
        tenant = caller(context).tenant
        order_asked(request.order_by, ("provider_id",))
        listing = await self.providers.list(tenant, page_asked(tenant, request))
        given = page_given(tenant, request, listing, provider_message, _provider_reference)
        return pb.ListToolProvidersResponse(providers=given.messages, next_page_token=given.next_page_token)

    async def UpdateToolProvider(
        self, request: pb.UpdateToolProviderRequest, context: Context
    ) -> pb.UpdateToolProviderResponse:
        """Change a provider."""
        if not request.provider.provider_id:
            raise invalid("provider.provider_id", "is required: say which provider is changed")
        named = fields_named(request.update_mask, _CHANGEABLE, prefix="provider")
        command = UpdateProvider(
            caller=caller(context),
            key=request_key("UpdateToolProvider", request),
            provider=_row(request.provider, named),
            fields=named,
            etag=request.etag,
            validate_only=request.validate_only,
        )
        view = await self.providers.update(command)
        return pb.UpdateToolProviderResponse(provider=provider_message(view))

    async def DeleteToolProvider(
        self, request: pb.DeleteToolProviderRequest, context: Context
    ) -> pb.DeleteToolProviderResponse:
        """Remove a provider."""
        key = request_key("DeleteToolProvider", request)
        await self.providers.delete(DeleteProvider(caller(context), key, request.provider_id))
        return pb.DeleteToolProviderResponse()

    async def RefreshToolProvider(
        self, request: pb.RefreshToolProviderRequest, context: Context
    ) -> pb.RefreshToolProviderResponse:
        """Load a provider's tools again."""
        view, difference = await self.providers.refresh(caller(context).tenant, request.provider_id)
        return pb.RefreshToolProviderResponse(
            provider=provider_message(view),
            added=difference.added,
            removed=difference.removed,
            changed=difference.changed,
        )

    async def ListTools(self, request: pb.ListToolsRequest, context: Context) -> pb.ListToolsResponse:
        """A page of tools."""
        tenant = caller(context).tenant
        order_asked(request.order_by.replace(", ", ","), ("provider_id,name",))
        listing = await self.providers.tools(
            tenant, page_asked(tenant, request), provider_id=request.provider_id, category=request.category
        )
        given = page_given(tenant, request, listing, offered_tool_message, _tool_reference)
        return pb.ListToolsResponse(tools=given.messages, next_page_token=given.next_page_token)


def _row(provider: agent_pb2.ToolProvider, named: tuple[str, ...]) -> ProviderRow:
    """A provider as a caller may register it. Raises InvalidField."""
    if not is_id(provider.provider_id):
        raise invalid("provider.provider_id", "1 to 64 characters of A-Z, a-z, 0-9, _ and -")
    target = provider.grpc_target
    if "grpc_target" in named and (not target or len(target) > _MOST_TARGET or not target.isprintable()):
        remedy = f"where a ToolService is served, as 127.0.0.1:7300 or unix:/path, at most {_MOST_TARGET} characters"
        raise invalid("provider.grpc_target", remedy)
    if "allowed_tools" in named:
        _require_names(provider)
    return ProviderRow(provider.provider_id, target, tuple(dict.fromkeys(provider.allowed_tools)))


def _require_names(provider: agent_pb2.ToolProvider) -> None:
    if len(provider.allowed_tools) > MOST_TOOLS:
        raise invalid("provider.allowed_tools", f"at most {MOST_TOOLS}; these are {len(provider.allowed_tools)}")
    for place, name in enumerate(provider.allowed_tools):
        if TOOL_NAME.fullmatch(name) is None:
            raise invalid(f"provider.allowed_tools[{place}]", "1 to 64 letters, digits, underscores and hyphens")


def _provider_reference(provider: ProviderView) -> str:
    return f"GetToolProvider of {provider.provider_id}"


def _tool_reference(tool: ToolSpec) -> str:
    return f"the declaration of {tool.path} by its provider"
