"""`heddle apply`."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from heddle_cli.display.screen import Screen
    from heddle_cli.faults import ExitCode
    from heddle_cli.manifests.documents import FaultyFiles
    from heddle_cli.manifests.plan import Plan
    from heddle_cli.session import Session


def apply(
    context: typer.Context,
    place: Annotated[
        str, typer.Option("--file", "-f", metavar="FOLDER|FILE", help="YAML, as in examples/campaigns/trail-shoes.")
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change, and change nothing.")] = False,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove what came from this folder and is no longer in it.")
    ] = False,
    adopt: Annotated[bool, typer.Option("--adopt", help="Take over agents that were made otherwise.")] = False,
    name: Annotated[str, typer.Option("--name", help="Name of the set; the folder's own if left out.")] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before anything is removed.")] = False,
) -> None:
    """Make campaigns and agents what a folder of files says."""
    from heddle_cli.display.screen import Screen
    from heddle_cli.faults import ExitCode
    from heddle_cli.manifests.documents import FaultyFiles
    from heddle_cli.manifests.folder import sound_manifests
    from heddle_cli.manifests.plan import make_plan
    from heddle_cli.options import options_of
    from heddle_cli.session import Session, perform
    from heddle_core.faults import HeddleError

    try:
        manifests = sound_manifests(place, name)
    except FaultyFiles as faulty:
        _tell(Screen(machine=options_of(context).machine), faulty)
        raise typer.Exit(int(ExitCode.USAGE)) from None
    if prune and not manifests.whole:
        raise typer.BadParameter("--prune wants the folder: all that is not in this one file would be removed")

    async def bring(session: Session) -> ExitCode | None:
        try:
            plan = await make_plan(session, manifests, prune=prune, adopt=adopt)
            return await _bring(session, plan, dry_run=dry_run, ask=not yes)
        except FaultyFiles as faulty:
            _tell(session.screen, faulty)
        except HeddleError:
            # What is wrong in the files is worth knowing whatever the server says.
            if not manifests.faults:
                raise
            _tell(session.screen, FaultyFiles(manifests.faults))
        return ExitCode.USAGE if manifests.faults else ExitCode.HEDDLE_ERROR

    try:
        perform(context, bring)
    except typer.Exit as left:
        if not manifests.faults or left.exit_code != ExitCode.UNREACHABLE:
            raise
        # What is wrong in the files can be told without a server.
        _tell(Screen(machine=options_of(context).machine), FaultyFiles(manifests.faults))
        raise typer.Exit(int(ExitCode.USAGE)) from None


async def _bring(session: "Session", plan: "Plan", *, dry_run: bool, ask: bool) -> "ExitCode | None":
    from heddle_cli.display.changes import step_lines, step_name, step_value, summary
    from heddle_cli.faults import ExitCode
    from heddle_cli.manifests.carrying import carry_out
    from heddle_cli.manifests.plan import Action

    screen = session.screen
    if not screen.machine:
        for line in [line for step in plan.steps for line in step_lines(step)]:
            screen.say(line)
    removes = any(step.action is Action.REMOVE for step in plan.steps)
    if removes and ask and not dry_run:
        if not screen.can_ask:
            gone = ", ".join(step_name(step) for step in plan.steps if step.action is Action.REMOVE)
            screen.note(f"error: {gone} would be removed for good, and nobody can be asked here: give --yes")
            return ExitCode.USAGE
        typer.confirm("Remove what is marked with a minus, for good?", abort=True, err=True)
    made = ["" if dry_run else await carry_out(session, step) for step in plan.steps]
    if screen.machine:
        steps = [step_value(step, made_id) for step, made_id in zip(plan.steps, made, strict=True)]
        screen.data({"managed_by": plan.managed_by, "dry_run": dry_run, "steps": steps})
    else:
        screen.note(summary(plan, dry_run=dry_run))
    return None


def _tell(screen: "Screen", faulty: "FaultyFiles") -> None:
    import json

    if screen.machine:
        told = [
            {"file": each.file, "line": each.line, "field": each.field, "remedy": each.remedy} for each in faulty.faults
        ]
        screen.note(json.dumps({"error": {"message": str(faulty), "faults": told}}, ensure_ascii=False))
        return
    for each in faulty.faults:
        screen.note(f"error: {each}")


COMMANDS = {"apply": apply}
