"""`heddle export`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from heddle.runtime.v1.event_pb2 import ThreadEvent
    from heddle_cli.session import Session


def export(
    context: typer.Context,
    thread_id: Annotated[str, typer.Argument(metavar="THREAD", help="The thread.")],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="Write it there; stdout if left out.")
    ] = "",
) -> None:
    """Write a thread as a scenario that a scripted model replays."""
    import yaml

    from heddle_cli.scenario_export import export as exported
    from heddle_cli.session import Session, perform

    async def write(session: Session) -> None:
        told = exported(await _events(session, thread_id), f"Thread {thread_id}, as it was said.")
        for note in told.notes:
            session.screen.note(f"note: {note}")
        if session.screen.machine:
            session.screen.data(told.scenario)
            return
        text = yaml.safe_dump(told.scenario, sort_keys=False, allow_unicode=True, width=100)
        if not output:
            print(text, end="")
            return
        Path(output).write_text(text, encoding="utf-8")
        session.screen.note(f"{output}: {len(told.scenario['turns'])} turns")

    perform(context, write)


async def _events(session: "Session", thread_id: str) -> "list[ThreadEvent]":
    from heddle_cli.log_reading import read_log

    return await read_log(session.runtime, thread_id)


COMMANDS = {"export": export}
