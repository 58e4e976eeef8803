"""`heddle export`."""

from pathlib import Path
from typing import Annotated

import typer


def export(
    context: typer.Context,
    thread_id: Annotated[str, typer.Argument(metavar="THREAD", help="The thread.")],
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="Write it there; stdout if left out.")
    ] = "",
) -> None:
    """Write a thread as a scenario that a scripted model replays."""
    import asyncio

    import yaml

    from heddle_cli.log_reading import read_log
    from heddle_cli.scenario_export import export as exported
    from heddle_cli.session import Session, perform

    async def write(session: Session) -> None:
        told = exported(await read_log(session.runtime, thread_id), f"Thread {thread_id}, as it was said.")
        for note in told.notes:
            session.screen.note(f"note: {note}")
        if session.screen.machine:
            session.screen.data(told.scenario)
            return
        text = yaml.safe_dump(told.scenario, sort_keys=False, allow_unicode=True, width=100)
        if output:
            await asyncio.to_thread(Path(output).write_text, text, encoding="utf-8")
            session.screen.note(f"{output}: {len(told.scenario['turns'])} turns")
        else:
            print(text, end="")

    perform(context, write)


COMMANDS = {"export": export}
