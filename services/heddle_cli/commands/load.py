"""`heddle load`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heddle_cli.composition import ServiceName
from heddle_cli.copying import DatabaseUrl, DataDir, Service, Show

if TYPE_CHECKING:
    from heddle_cli.display.screen import Screen
    from heddle_cli.faults import ExitCode


def load(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="FILE", help="What `heddle dump` wrote.")],
    data_dir: DataDir = "",
    database: DatabaseUrl = "",
    service: Service = ServiceName.RUNTIME,
) -> None:
    """Load a dump into an empty database of either engine.

    Exactly as it was dumped, to move a database: nobody may serve the old one any more. For a backup use `restore`.
    """
    from heddle_cli.copying import audit_lines, audit_told, code_of_audit, place_of, work
    from heddle_runtime.maintenance import copies

    place = place_of(data_dir, database, default="", service=service)

    async def read(screen: "Screen", show: Show) -> "ExitCode":
        held, verified = await copies.load(Path(file), place, show)
        if screen.machine:
            screen.data({"file": file, "rows": held.rows, "sha256": held.sha256, **audit_told(verified)})
        else:
            screen.say(f"loaded {sum(held.rows.values())} rows from {file}")
            for line in audit_lines(verified, service):
                screen.say(line)
        return code_of_audit(verified)

    work(context, read)


COMMANDS = {"load": load}
