"""`heddle agents`."""

from typing import Annotated

import typer

FileArgument = Annotated[str, typer.Argument(metavar="FILE", help="YAML, as in examples/agents; `-` reads stdin.")]
IdOption = Annotated[str, typer.Option("--id", help="Id, instead of the file's `agent_id`.")]


def list_agents(
    context: typer.Context,
    archived: Annotated[bool, typer.Option("--archived", help="Archived ones too.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Most agents to list.")] = 200,
) -> None:
    """List agents at their newest versions."""
    from heddle.runtime.v1.agent_service_pb2 import ListAgentsRequest, ListAgentsResponse
    from heddle_cli.display.resources import agent_list
    from heddle_cli.paging import collect
    from heddle_cli.session import Session, perform

    async def show(session: Session) -> None:
        async def page(size: int, token: str) -> ListAgentsResponse:
            request = ListAgentsRequest(page_size=size, page_token=token, include_archived=archived)
            return await session.stubs.agents.ListAgents(request)

        found = await collect(page, "agents", most=limit)
        session.screen.result(found, lambda: agent_list(found.agents))

    perform(context, show)


def show_agent(
    context: typer.Context,
    agent_id: Annotated[str, typer.Argument(metavar="AGENT", help="The agent.")],
    version: Annotated[int, typer.Option("--version", min=0, help="Which version; the newest if left out.")] = 0,
) -> None:
    """Show an agent: its instructions, model and tools."""
    from heddle.runtime.v1.agent_service_pb2 import GetAgentRequest
    from heddle_cli.display.resources import agent_sheet
    from heddle_cli.session import Session, perform

    async def show(session: Session) -> None:
        request = GetAgentRequest(agent_id=agent_id, version=version)
        agent = (await session.stubs.agents.GetAgent(request)).agent
        session.screen.result(agent, lambda: agent_sheet(agent))

    perform(context, show)


def create_agent(context: typer.Context, file: FileArgument, agent_id: IdOption = "") -> None:
    """Make an agent from a YAML file."""
    from heddle.runtime.v1.agent_service_pb2 import CreateAgentRequest
    from heddle_cli import arguments
    from heddle_cli.agent_files import read_agent
    from heddle_cli.display.resources import agent_sheet
    from heddle_cli.session import Session, perform

    name, spec = read_agent(arguments.text(file), file, agent_id)

    async def create(session: Session) -> None:
        request = CreateAgentRequest(request_id=session.new_request_id(), agent_id=name, spec=spec)
        agent = (await session.stubs.agents.CreateAgent(request)).agent
        session.screen.result(agent, lambda: agent_sheet(agent))

    perform(context, create)


def update_agent(context: typer.Context, file: FileArgument, agent_id: IdOption = "") -> None:
    """Make a new version of an agent: all that it is, from a YAML file. Runs under way keep theirs."""
    from google.protobuf.field_mask_pb2 import FieldMask

    from heddle.runtime.v1.agent_service_pb2 import UpdateAgentRequest
    from heddle_cli import arguments
    from heddle_cli.agent_files import read_agent
    from heddle_cli.display.resources import agent_sheet
    from heddle_cli.session import Session, perform

    name, spec = read_agent(arguments.text(file), file, agent_id)

    async def update(session: Session) -> None:
        request = UpdateAgentRequest(
            request_id=session.new_request_id(), agent_id=name, spec=spec, update_mask=FieldMask(paths=["*"])
        )
        agent = (await session.stubs.agents.UpdateAgent(request)).agent
        session.screen.result(agent, lambda: agent_sheet(agent))

    perform(context, update)


def archive_agent(
    context: typer.Context, agent_id: Annotated[str, typer.Argument(metavar="AGENT", help="The agent.")]
) -> None:
    """Make an agent take no new turns."""
    from heddle.runtime.v1.agent_service_pb2 import ArchiveAgentRequest
    from heddle_cli.display.resources import agent_sheet
    from heddle_cli.session import Session, perform

    async def archive(session: Session) -> None:
        request = ArchiveAgentRequest(request_id=session.new_request_id(), agent_id=agent_id)
        agent = (await session.stubs.agents.ArchiveAgent(request)).agent
        session.screen.result(agent, lambda: agent_sheet(agent))

    perform(context, archive)


def list_models(context: typer.Context) -> None:
    """List the models that are configured, and why those that cannot be used cannot."""
    from heddle.runtime.v1.agent_service_pb2 import ListModelsRequest, ListModelsResponse
    from heddle_cli.display.resources import model_list
    from heddle_cli.paging import MOST_PAGE, collect
    from heddle_cli.session import Session, perform

    async def show(session: Session) -> None:
        async def page(size: int, token: str) -> ListModelsResponse:
            return await session.stubs.agents.ListModels(ListModelsRequest(page_size=size, page_token=token))

        found = await collect(page, "models", most=MOST_PAGE)
        session.screen.result(found, lambda: model_list(found.models))

    perform(context, show)


COMMANDS = {
    "list": list_agents,
    "show": show_agent,
    "create": create_agent,
    "update": update_agent,
    "archive": archive_agent,
    "models": list_models,
}
