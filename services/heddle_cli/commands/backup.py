"""`heddle backup`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heddle_cli.composition import ServiceName
from heddle_cli.copying import DatabaseUrl, DataDir, Service, Show

if TYPE_CHECKING:
    from heddle_cli.display.screen import Screen
    from heddle_cli.faults import ExitCode


def backup(
    context: typer.Context,
    to: Annotated[str, typer.Option("--to", metavar="FILE", help="The new file.")],
    data_dir: DataDir = "",
    database: DatabaseUrl = "",
    service: Service = ServiceName.RUNTIME,
) -> None:
    """Copy a whole database to a file, while it is served or not.

    The copy is verified before it gets its name. An embedded database becomes a database file, PostgreSQL a dump.
    """
    from heddle_cli.copying import audit_lines, audit_told, code_of_audit, place_of, work
    from heddle_runtime.maintenance.copies import back_up

    place = place_of(data_dir, database, service=service)

    async def copy(screen: "Screen", show: Show) -> "ExitCode":
        made = await back_up(place, Path(to), show)
        if screen.machine:
            screen.data({"file": to, "bytes": made.bytes, **audit_told(made.audit)})
        else:
            screen.say(f"{to}: {made.bytes} bytes")
            for line in audit_lines(made.audit, service):
                screen.say(line)
        return code_of_audit(made.audit)

    work(context, copy)


COMMANDS = {"backup": backup}
