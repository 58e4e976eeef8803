"""`heddle cycle`."""

from typing import Annotated

import typer

CycleArgument = Annotated[str, typer.Argument(metavar="CYCLE", help="Its id, as `heddle campaign cycles` lists it.")]


def show_cycle(context: typer.Context, cycle_id: CycleArgument) -> None:
    """Show a cycle: its turns, what they were given, what came of them."""
    from heddle.campaign.v1alpha1.cycle_request_pb2 import GetCycleRequest
    from heddle_cli.display.cycles import cycle_sheet
    from heddle_cli.named_campaigns import campaigns_of
    from heddle_cli.session import Session, perform

    async def show(session: Session) -> None:
        cycle = (await campaigns_of(session).GetCycle(GetCycleRequest(cycle_id=cycle_id))).cycle
        session.screen.result(cycle, lambda: cycle_sheet(cycle))

    perform(context, show)


def retry(context: typer.Context, cycle_id: CycleArgument) -> None:
    """Begin a failed or cancelled cycle again; turns that are completed are not repeated."""
    from heddle.campaign.v1alpha1.cycle_request_pb2 import RetryCycleRequest
    from heddle_cli.display.cycles import cycle_sheet
    from heddle_cli.named_campaigns import campaigns_of
    from heddle_cli.session import Session, perform

    async def begin(session: Session) -> None:
        request = RetryCycleRequest(request_id=session.new_request_id(), cycle_id=cycle_id)
        cycle = (await campaigns_of(session).RetryCycle(request)).cycle
        session.screen.result(cycle, lambda: cycle_sheet(cycle))

    perform(context, begin)


def cancel(
    context: typer.Context,
    cycle_id: CycleArgument,
    note: Annotated[str, typer.Option("--note", help="Why, for people.")] = "",
) -> None:
    """Stop a cycle and its runs."""
    from heddle.campaign.v1alpha1.cycle_request_pb2 import CancelCycleRequest
    from heddle_cli.display.cycles import cycle_sheet
    from heddle_cli.named_campaigns import campaigns_of
    from heddle_cli.session import Session, perform

    async def stop(session: Session) -> None:
        request = CancelCycleRequest(request_id=session.new_request_id(), cycle_id=cycle_id, note=note)
        cycle = (await campaigns_of(session).CancelCycle(request)).cycle
        session.screen.result(cycle, lambda: cycle_sheet(cycle))

    perform(context, stop)


COMMANDS = {"show": show_cycle, "retry": retry, "cancel": cancel}
