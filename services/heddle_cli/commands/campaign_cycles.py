"""The parts of `heddle campaign` that start cycles, list them, and say when they are due."""

from typing import TYPE_CHECKING, Annotated

import typer

from heddle_cli.commands.campaign_options import (
    CampaignArgument,
    CycleStateName,
    MissingTime,
    Origin,
    Overlap,
    OverlapOption,
    RepeatedTime,
)

if TYPE_CHECKING:
    from heddle.campaign.v1alpha1.schedule_pb2 import OverlapPolicy, Schedule, TimeRange
    from heddle_cli.session import Session

SinceOption = Annotated[str, typer.Option("--from", metavar="TIME", help="First moment, as 2026-11-23T08:00:00Z.")]
UntilOption = Annotated[str, typer.Option("--until", metavar="TIME", help="First moment after it.")]


def trigger(
    context: typer.Context,
    campaign: CampaignArgument,
    role: Annotated[list[str] | None, typer.Option("--role", help="Ask this role; as scheduled if left out.")] = None,
    note: Annotated[str, typer.Option("--note", help="What the agents are told beyond the brief.")] = "",
    overlap: OverlapOption = None,
) -> None:
    """Start a cycle now, beside the schedule."""
    from heddle.campaign.v1alpha1.cycle_request_pb2 import TriggerCampaignRequest
    from heddle_cli.display.cycles import cycle_sheet
    from heddle_cli.named_campaigns import campaign_id_of, campaigns_of
    from heddle_cli.session import Session, perform

    async def start(session: Session) -> None:
        request = TriggerCampaignRequest(
            request_id=session.new_request_id(),
            campaign_id=await campaign_id_of(session, campaign),
            roles=role or (),
            note=note,
            overlap=_policy(overlap),
        )
        cycle = (await campaigns_of(session).TriggerCampaign(request)).cycle
        session.screen.result(cycle, lambda: cycle_sheet(cycle))

    perform(context, start)


def backfill(
    context: typer.Context,
    campaign: CampaignArgument,
    since: SinceOption,
    until: UntilOption,
    overlap: OverlapOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count the times.")] = False,
) -> None:
    """Fire the times of a past stretch that have no cycle."""
    from heddle.campaign.v1alpha1.cycle_request_pb2 import BackfillCampaignRequest
    from heddle_cli.named_campaigns import campaign_id_of, campaigns_of
    from heddle_cli.session import Session, perform

    stretch = _stretch(since, until)

    async def fill(session: Session) -> None:
        request = BackfillCampaignRequest(
            request_id=session.new_request_id(),
            campaign_id=await campaign_id_of(session, campaign),
            range=stretch,
            overlap=_policy(overlap),
            validate_only=dry_run,
        )
        found = await campaigns_of(session).BackfillCampaign(request)
        if not found.count:
            session.screen.note(await _why_nothing(session, request.campaign_id, stretch))
        told = f"{found.count} time{'' if found.count == 1 else 's'} of the stretch {'would get' if dry_run else 'get'}"
        session.screen.result(found, lambda: "\n".join((f"{told} a cycle", *found.cycle_ids)))

    perform(context, fill)


def preview(
    context: typer.Context,
    campaign: Annotated[str, typer.Argument(metavar="CAMPAIGN", help="Whose times; or give a schedule.")] = "",
    cron: Annotated[str, typer.Option("--cron", metavar="EXPRESSION", help="As '0 9 * * MON-FRI'.")] = "",
    rrule: Annotated[str, typer.Option("--rrule", metavar="RULE", help="As FREQ=WEEKLY;BYDAY=MO;BYHOUR=9.")] = "",
    every: Annotated[str, typer.Option("--every", metavar="SPAN", help="As 6h.")] = "",
    zone: Annotated[str, typer.Option("--zone", help="Time zone of such a schedule, as Europe/Berlin.")] = "",
    missing: Annotated[
        MissingTime | None, typer.Option("--missing", help="What to do with a time that a clock change leaves out.")
    ] = None,
    repeated: Annotated[
        RepeatedTime | None, typer.Option("--repeated", help="What to do with a time that a clock change repeats.")
    ] = None,
    since: SinceOption = "",
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=100, help="How many times.")] = 10,
) -> None:
    """Say when a schedule fires: local time, UTC, and what clock changes do to it."""
    from heddle.campaign.v1alpha1.cycle_request_pb2 import PreviewScheduleRequest
    from heddle_cli import arguments
    from heddle_cli.display.schedules import preview_lines
    from heddle_cli.named_campaigns import campaign_id_of, campaigns_of
    from heddle_cli.session import Session, perform

    if sum(map(bool, (campaign, cron, rrule, every))) != 1:
        raise typer.BadParameter("give a campaign, or one of --cron, --rrule and --every")
    for hint, given in (("--zone", zone), ("--missing", missing), ("--repeated", repeated)):
        if given and campaign:
            raise typer.BadParameter("a campaign's own schedule says that", param_hint=hint)
    schedule = None if campaign else _schedule(cron, rrule, every, zone)
    if schedule is not None:
        _set_policies(schedule, missing, repeated)
    start = arguments.time(since) if since else None

    async def show(session: Session) -> None:
        request = PreviewScheduleRequest(count=count, schedule=schedule)
        if campaign:
            request.campaign_id = await campaign_id_of(session, campaign)
        if start:
            request.start_time.FromDatetime(start)
        found = await campaigns_of(session).PreviewSchedule(request)
        session.screen.result(found, lambda: preview_lines(found))

    perform(context, show)


def list_cycles(
    context: typer.Context,
    campaign: CampaignArgument,
    state: Annotated[list[CycleStateName] | None, typer.Option("--state", help="Only in this state.")] = None,
    origin: Annotated[list[Origin] | None, typer.Option("--origin", help="Only made by this.")] = None,
    since: SinceOption = "",
    until: UntilOption = "",
    oldest: Annotated[bool, typer.Option("--oldest-first", help="In the order of their times.")] = False,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Most cycles to list.")] = 50,
) -> None:
    """List cycles and the gaps between them, newest first."""
    from heddle.campaign.v1alpha1.cycle_pb2 import CycleOrigin, CycleState
    from heddle.campaign.v1alpha1.cycle_request_pb2 import ListCyclesRequest, ListCyclesResponse
    from heddle_cli.display.cycles import cycle_list
    from heddle_cli.named_campaigns import campaign_id_of, campaigns_of
    from heddle_cli.paging import collect
    from heddle_cli.session import Session, perform

    if bool(since) != bool(until):
        raise typer.BadParameter("--from and --until go together")
    asked = ListCyclesRequest(
        order_by="scheduled_time" if oldest else "",
        states=[CycleState.Value(f"CYCLE_STATE_{each.name}") for each in state or ()],
        origins=[CycleOrigin.Value(f"CYCLE_ORIGIN_{each.name}") for each in origin or ()],
        range=_stretch(since, until) if since else None,
    )

    async def show(session: Session) -> None:
        asked.campaign_id = await campaign_id_of(session, campaign)

        async def page(size: int, token: str) -> ListCyclesResponse:
            asked.page_size, asked.page_token = size, token
            return await campaigns_of(session).ListCycles(asked)

        found = await collect(page, "cycles", most=limit)
        narrowed = bool(asked.states or asked.origins or since)
        session.screen.result(
            found, lambda: cycle_list(found.cycles, found.gaps, oldest_first=oldest, narrowed=narrowed)
        )

    perform(context, show)


def signal(
    context: typer.Context,
    kind: Annotated[str, typer.Argument(metavar="KIND", help="What happened, as trend_spike.")],
    key: Annotated[str, typer.Option("--key", help="Names what happened: the same starts nothing twice.")],
    payload: Annotated[str, typer.Option("--payload", metavar="FILE", help="A JSON object; `-` reads stdin.")] = "",
    campaign: Annotated[str, typer.Option("--campaign", help="The only one that may answer.")] = "",
    at: Annotated[str, typer.Option("--at", metavar="TIME", help="When it happened; now if left out.")] = "",
    source: Annotated[str, typer.Option("--source", help="Where it comes from, for people.")] = "",
) -> None:
    """Report that something happened; campaigns with a fitting trigger start a cycle."""
    from heddle.campaign.v1alpha1.cycle_request_pb2 import ReportSignalRequest
    from heddle.campaign.v1alpha1.signal_pb2 import Signal
    from heddle_cli import arguments
    from heddle_cli.display.campaigns import match_list
    from heddle_cli.named_campaigns import campaign_id_of, campaigns_of
    from heddle_cli.session import Session, perform

    happened = Signal(kind=kind, dedupe_key=key, source=source)
    happened.payload_json = arguments.json_text(payload) if payload else ""
    if at:
        happened.occur_time.FromDatetime(arguments.time(at))

    async def report(session: Session) -> None:
        only = await campaign_id_of(session, campaign) if campaign else ""
        request = ReportSignalRequest(request_id=session.new_request_id(), signal=happened, campaign_id=only)
        found = await campaigns_of(session).ReportSignal(request)
        session.screen.result(found, lambda: match_list(found.matches))

    perform(context, report)


async def _why_nothing(session: "Session", campaign_id: str, stretch: "TimeRange") -> str:
    """Why a backfill found no time to fire."""
    from heddle.campaign.v1alpha1.campaign_service_pb2 import GetCampaignRequest
    from heddle_cli.display.times import when
    from heddle_cli.named_campaigns import campaigns_of

    found = (await campaigns_of(session).GetCampaign(GetCampaignRequest(campaign_id=campaign_id))).campaign
    begins = found.schedule.start_time
    if begins.ToNanoseconds() > stretch.start_time.ToNanoseconds():
        return f"its schedule begins at {when(begins)}: give it an earlier start_time to have times before that"
    return f"every time of the stretch has a cycle, or there is none: `heddle campaign cycles {campaign_id}` lists them"


def _policy(overlap: Overlap | None) -> "OverlapPolicy.ValueType":
    from heddle.campaign.v1alpha1.schedule_pb2 import OverlapPolicy

    return OverlapPolicy.Value(f"OVERLAP_POLICY_{overlap.name if overlap else 'UNSPECIFIED'}")


def _stretch(since: str, until: str) -> "TimeRange":
    from heddle.campaign.v1alpha1.schedule_pb2 import TimeRange
    from heddle_cli import arguments

    stretch = TimeRange()
    stretch.start_time.FromDatetime(arguments.time(since))
    stretch.end_time.FromDatetime(arguments.time(until))
    return stretch


def _set_policies(schedule: "Schedule", missing: MissingTime | None, repeated: RepeatedTime | None) -> None:
    from heddle.campaign.v1alpha1.schedule_pb2 import MissingTimePolicy, RepeatedTimePolicy

    if missing is not None:
        schedule.missing_time = MissingTimePolicy.Value(f"MISSING_TIME_POLICY_{missing.name}")
    if repeated is not None:
        schedule.repeated_time = RepeatedTimePolicy.Value(f"REPEATED_TIME_POLICY_{repeated.name}")


def _schedule(cron: str, rrule: str, every: str, zone: str) -> "Schedule":
    from heddle.campaign.v1alpha1.schedule_pb2 import Schedule
    from heddle_cli.manifests.values import span

    schedule = Schedule(time_zone=zone)
    if cron:
        schedule.cron = cron
    elif rrule:
        schedule.rrule = rrule
    else:
        try:
            schedule.interval.FromTimedelta(span(every))
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--every") from error
    return schedule


COMMANDS = {
    "trigger": trigger,
    "backfill": backfill,
    "preview": preview,
    "cycles": list_cycles,
    "signal": signal,
}
