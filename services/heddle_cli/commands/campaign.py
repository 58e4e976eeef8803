"""`heddle campaign`."""

from typing import Annotated

import typer

from heddle_cli.commands import campaign_cycles, campaign_memories
from heddle_cli.commands.campaign_options import CampaignArgument, CancelOption, NoteOption, State, YesOption


def list_campaigns(
    context: typer.Context,
    state: Annotated[list[State] | None, typer.Option("--state", help="Only in this state.")] = None,
    agent: Annotated[str, typer.Option("--agent", "-a", help="Only those that this agent works in.")] = "",
    label: Annotated[list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="Only with it.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Most campaigns to list.")] = 50,
) -> None:
    """List campaigns, newest first."""
    from heddle.campaign.v1alpha1.campaign_pb2 import CampaignState
    from heddle.campaign.v1alpha1.campaign_service_pb2 import ListCampaignsRequest, ListCampaignsResponse
    from heddle_cli import arguments
    from heddle_cli.display.campaigns import campaign_list
    from heddle_cli.named_campaigns import campaigns_of
    from heddle_cli.paging import collect
    from heddle_cli.session import Session, perform

    marks = arguments.labels(label or [])
    states = [CampaignState.Value(f"CAMPAIGN_STATE_{each.name}") for each in state or ()]

    async def show(session: Session) -> None:
        async def page(size: int, token: str) -> ListCampaignsResponse:
            request = ListCampaignsRequest(
                page_size=size, page_token=token, states=states, agent_id=agent, labels=marks
            )
            return await campaigns_of(session).ListCampaigns(request)

        found = await collect(page, "campaigns", most=limit)
        session.screen.result(found, lambda: campaign_list(found.campaigns))

    perform(context, show)


def templates(
    context: typer.Context,
    template: Annotated[
        str, typer.Argument(metavar="TEMPLATE", help="Print this one as a file for `heddle apply`.")
    ] = "",
) -> None:
    """List campaigns that can be copied, or print one as a file: its agents are yours to name and enable."""
    from heddle.campaign.v1alpha1.campaign_service_pb2 import (
        ListCampaignTemplatesRequest,
        ListCampaignTemplatesResponse,
    )
    from heddle_cli.display.campaigns import template_list
    from heddle_cli.manifests.writing import file_text
    from heddle_cli.named_campaigns import campaigns_of
    from heddle_cli.paging import MOST_PAGE, collect
    from heddle_cli.session import Session, perform

    async def show(session: Session) -> None:
        async def page(size: int, token: str) -> ListCampaignTemplatesResponse:
            request = ListCampaignTemplatesRequest(page_size=size, page_token=token)
            return await campaigns_of(session).ListCampaignTemplates(request)

        found = await collect(page, "campaign_templates", most=MOST_PAGE)
        if not template:
            session.screen.result(found, lambda: template_list(found.campaign_templates))
            return
        known = {each.template_id: each for each in found.campaign_templates}
        if template not in known:
            raise typer.BadParameter(f"{template} is none of {', '.join(known)}", param_hint="TEMPLATE")
        one = known[template]
        session.screen.result(one, lambda: file_text(template, one.campaign).rstrip())

    perform(context, show)


def show_campaign(context: typer.Context, campaign: CampaignArgument) -> None:
    """Show a campaign: what it is, how it stands, when it is due."""
    from heddle.campaign.v1alpha1.campaign_service_pb2 import GetCampaignRequest
    from heddle_cli.display.campaigns import campaign_sheet
    from heddle_cli.named_campaigns import campaign_id_of, campaigns_of
    from heddle_cli.session import Session, perform

    async def show(session: Session) -> None:
        request = GetCampaignRequest(campaign_id=await campaign_id_of(session, campaign))
        found = (await campaigns_of(session).GetCampaign(request)).campaign
        session.screen.result(found, lambda: campaign_sheet(found))

    perform(context, show)


def activate(
    context: typer.Context,
    campaign: CampaignArgument,
    now: Annotated[bool, typer.Option("--now", help="Start a first cycle at once, beside the schedule.")] = False,
) -> None:
    """Begin: from now on the times of a draft fall due."""
    _move(context, campaign, "ActivateCampaign", start_now=now)


def pause(
    context: typer.Context, campaign: CampaignArgument, note: NoteOption = "", cancel_cycles: CancelOption = False
) -> None:
    """Let nothing be due until it is resumed; cycles at work go on."""
    _move(context, campaign, "PauseCampaign", note=note, cancel_cycles=cancel_cycles)


def resume(context: typer.Context, campaign: CampaignArgument, note: NoteOption = "") -> None:
    """Go on after a pause. Times that passed meanwhile stay paused: `backfill` fires them."""
    _move(context, campaign, "ResumeCampaign", note=note)


def complete(
    context: typer.Context, campaign: CampaignArgument, note: NoteOption = "", cancel_cycles: CancelOption = False
) -> None:
    """End a campaign for good. What it did and learned stays."""
    _move(context, campaign, "CompleteCampaign", note=note, cancel_cycles=cancel_cycles)


def delete(context: typer.Context, campaign: CampaignArgument, yes: YesOption = False) -> None:
    """Remove a campaign that is not active, with its cycles and memories."""
    from heddle.campaign.v1alpha1.campaign_service_pb2 import DeleteCampaignRequest
    from heddle_cli.named_campaigns import campaign_id_of, campaigns_of
    from heddle_cli.session import Session, perform

    if not yes:
        typer.confirm(f"Remove campaign {campaign} with its cycles and memories, for good?", abort=True, err=True)

    async def remove(session: Session) -> None:
        request = DeleteCampaignRequest(
            request_id=session.new_request_id(), campaign_id=await campaign_id_of(session, campaign)
        )
        gone = await campaigns_of(session).DeleteCampaign(request)
        session.screen.result(gone, lambda: f"campaign {gone.campaign_id} is removed; its threads stay")

    perform(context, remove)


def watch(context: typer.Context, campaign: CampaignArgument) -> None:
    """Follow a campaign live, until Ctrl-C. With --json, each state is one line."""
    from contextlib import aclosing

    from heddle_cli.display.campaign_live import campaign_display
    from heddle_cli.named_campaigns import campaign_id_of, campaigns_of
    from heddle_cli.session import Session, perform
    from heddle_cli.watched_campaign import watch_campaign

    async def follow(session: Session) -> None:
        campaign_id = await campaign_id_of(session, campaign)
        display = campaign_display(session.screen)
        try:
            async with aclosing(watch_campaign(campaigns_of(session), campaign_id)) as states:
                async for each in states:
                    display.show(each)
        finally:
            display.close()
        session.screen.note(f"campaign {campaign_id} is deleted")

    perform(context, follow)


def _move(context: typer.Context, campaign: str, method: str, **fields: object) -> None:
    """Move a campaign to another state by one of its calls, and show it as it stands then."""
    from heddle.campaign.v1alpha1 import campaign_service_pb2
    from heddle_cli.display.campaigns import campaign_sheet
    from heddle_cli.named_campaigns import campaign_id_of, campaigns_of
    from heddle_cli.session import Session, perform

    async def move(session: Session) -> None:
        message = getattr(campaign_service_pb2, f"{method}Request")
        campaign_id = await campaign_id_of(session, campaign)
        request = message(request_id=session.new_request_id(), campaign_id=campaign_id, **fields)
        found = (await getattr(campaigns_of(session), method)(request)).campaign
        session.screen.result(found, lambda: campaign_sheet(found))

    perform(context, move)


COMMANDS = {
    "list": list_campaigns,
    "templates": templates,
    "show": show_campaign,
    "activate": activate,
    "pause": pause,
    "resume": resume,
    "complete": complete,
    "delete": delete,
    **campaign_cycles.COMMANDS,
    **campaign_memories.COMMANDS,
    "watch": watch,
}
