"""`heddle tools`."""

from typing import Annotated

import typer

ProviderArgument = Annotated[str, typer.Argument(metavar="PROVIDER", help="Id of the provider.")]


def list_tools(
    context: typer.Context,
    provider: Annotated[str, typer.Option("--provider", help="Only tools of this provider.")] = "",
    category: Annotated[str, typer.Option("--category", help="Only tools of this category.")] = "",
) -> None:
    """List the tools of all providers."""
    from heddle.runtime.v1.tool_provider_service_pb2 import ListToolsRequest, ListToolsResponse
    from heddle_cli.display.resources import tool_list
    from heddle_cli.paging import MOST_PAGE, collect
    from heddle_cli.session import Session, perform

    async def show(session: Session) -> None:
        async def page(size: int, token: str) -> ListToolsResponse:
            request = ListToolsRequest(page_size=size, page_token=token, provider_id=provider, category=category)
            return await session.stubs.tool_providers.ListTools(request)

        found = await collect(page, "tools", most=MOST_PAGE)
        session.screen.result(found, lambda: tool_list(found.tools))

    perform(context, show)


def list_providers(context: typer.Context) -> None:
    """List where tools come from."""
    from heddle.runtime.v1.tool_provider_service_pb2 import ListToolProvidersRequest, ListToolProvidersResponse
    from heddle_cli.display.resources import provider_list
    from heddle_cli.paging import MOST_PAGE, collect
    from heddle_cli.session import Session, perform

    async def show(session: Session) -> None:
        async def page(size: int, token: str) -> ListToolProvidersResponse:
            request = ListToolProvidersRequest(page_size=size, page_token=token)
            return await session.stubs.tool_providers.ListToolProviders(request)

        found = await collect(page, "providers", most=MOST_PAGE)
        session.screen.result(found, lambda: provider_list(found.providers))

    perform(context, show)


def add_provider(
    context: typer.Context,
    provider_id: ProviderArgument,
    target: Annotated[str, typer.Argument(metavar="TARGET", help="Its ToolService, as 127.0.0.1:7300 or unix:/path.")],
    allow: Annotated[list[str] | None, typer.Option("--allow", metavar="TOOL", help="Offer only this tool.")] = None,
) -> None:
    """Register a provider and load its tools."""
    from heddle.runtime.v1.agent_pb2 import ToolProvider
    from heddle.runtime.v1.tool_provider_service_pb2 import CreateToolProviderRequest
    from heddle_cli.display.resources import provider_list
    from heddle_cli.session import Session, perform

    provider = ToolProvider(provider_id=provider_id, grpc_target=target, allowed_tools=allow or [])

    async def add(session: Session) -> None:
        request = CreateToolProviderRequest(request_id=session.new_request_id(), provider=provider)
        made = (await session.stubs.tool_providers.CreateToolProvider(request)).provider
        session.screen.result(made, lambda: provider_list([made]))

    perform(context, add)


def refresh_provider(context: typer.Context, provider_id: ProviderArgument) -> None:
    """Load a provider's tools again, and say what changed."""
    from heddle.runtime.v1.tool_provider_service_pb2 import RefreshToolProviderRequest
    from heddle_cli.display.resources import provider_list
    from heddle_cli.session import Session, perform

    async def refresh(session: Session) -> None:
        request = RefreshToolProviderRequest(request_id=session.new_request_id(), provider_id=provider_id)
        told = await session.stubs.tool_providers.RefreshToolProvider(request)
        changes = [("added", told.added), ("removed", told.removed), ("changed", told.changed)]
        session.screen.result(
            told,
            lambda: [
                provider_list([told.provider]),
                *(f"{what}: {', '.join(tools)}" for what, tools in changes if tools),
            ],
        )

    perform(context, refresh)


def remove_provider(context: typer.Context, provider_id: ProviderArgument) -> None:
    """Remove a provider. Calls under way end as they end."""
    from heddle.runtime.v1.tool_provider_service_pb2 import DeleteToolProviderRequest
    from heddle_cli.session import Session, perform

    async def remove(session: Session) -> None:
        request = DeleteToolProviderRequest(request_id=session.new_request_id(), provider_id=provider_id)
        gone = await session.stubs.tool_providers.DeleteToolProvider(request)
        session.screen.result(gone, lambda: f"provider {provider_id} is removed")

    perform(context, remove)


COMMANDS = {
    "list": list_tools,
    "providers": list_providers,
    "add": add_provider,
    "refresh": refresh_provider,
    "remove": remove_provider,
}
