"""The parts of `heddle campaign` for what it has learned."""

from typing import Annotated

import typer

from heddle_cli.commands.campaign_options import CampaignArgument, Kind

MemoryArgument = Annotated[str, typer.Argument(metavar="MEMORY", help="Its id, as `memories` lists it.")]


def list_memories(
    context: typer.Context,
    campaign: CampaignArgument,
    kind: Annotated[list[Kind] | None, typer.Option("--kind", help="Only of this kind.")] = None,
    pinned: Annotated[bool | None, typer.Option("--pinned/--not-pinned", help="Only such; both if left out.")] = None,
    platform: Annotated[str, typer.Option("--platform", help="Only for this platform.")] = "",
    words: Annotated[str, typer.Option("--words", help="Only with all these words.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, help="Most memories to list.")] = 50,
) -> None:
    """List what a campaign has learned, newest first, and where."""
    from heddle.campaign.v1alpha1.memory_pb2 import MemoryKind
    from heddle.campaign.v1alpha1.memory_request_pb2 import ListMemoriesRequest, ListMemoriesResponse
    from heddle_cli.display.campaigns import memory_list
    from heddle_cli.named_campaigns import campaign_id_of, campaigns_of
    from heddle_cli.paging import collect
    from heddle_cli.session import Session, perform

    kinds = [MemoryKind.Value(f"MEMORY_KIND_{each.name}") for each in kind or ()]
    asked = ListMemoriesRequest(kinds=kinds, pinned=pinned, platform=platform, query=words)

    async def show(session: Session) -> None:
        asked.campaign_id = await campaign_id_of(session, campaign)

        async def page(size: int, token: str) -> ListMemoriesResponse:
            asked.page_size, asked.page_token = size, token
            return await campaigns_of(session).ListMemories(asked)

        found = await collect(page, "memories", most=limit)
        session.screen.result(found, lambda: memory_list(found.memories))

    perform(context, show)


def pin(
    context: typer.Context,
    memory: MemoryArgument,
    off: Annotated[bool, typer.Option("--off", help="No longer.")] = False,
) -> None:
    """Give a memory to every turn, before all others."""
    from heddle.campaign.v1alpha1.memory_request_pb2 import PinMemoryRequest
    from heddle_cli.display.campaigns import memory_line
    from heddle_cli.named_campaigns import campaigns_of
    from heddle_cli.session import Session, perform

    async def change(session: Session) -> None:
        request = PinMemoryRequest(request_id=session.new_request_id(), memory_id=memory, pinned=not off)
        found = (await campaigns_of(session).PinMemory(request)).memory
        session.screen.result(found, lambda: memory_line(found))

    perform(context, change)


def forget(context: typer.Context, memory: MemoryArgument) -> None:
    """Erase a memory. Turns that were given it keep it in their log."""
    from heddle.campaign.v1alpha1.memory_request_pb2 import ForgetMemoryRequest
    from heddle_cli.named_campaigns import campaigns_of
    from heddle_cli.session import Session, perform

    async def erase(session: Session) -> None:
        request = ForgetMemoryRequest(request_id=session.new_request_id(), memory_id=memory)
        gone = await campaigns_of(session).ForgetMemory(request)
        session.screen.result(gone, lambda: f"memory {gone.memory_id} is forgotten: no later turn is given it")

    perform(context, erase)


COMMANDS = {"memories": list_memories, "pin": pin, "forget": forget}
