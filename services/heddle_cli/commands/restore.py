"""`heddle restore`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heddle_cli.composition import ServiceName
from heddle_cli.copying import DatabaseUrl, DataDir, Service, Show

if TYPE_CHECKING:
    from heddle_cli.display.screen import Screen
    from heddle_cli.faults import ExitCode


def restore(
    context: typer.Context,
    file: Annotated[str, typer.Argument(metavar="[FILE]", help="What `heddle backup` or `heddle dump` wrote.")] = "",
    data_dir: DataDir = "",
    database: DatabaseUrl = "",
    service: Service = ServiceName.RUNTIME,
    epoch_only: Annotated[
        bool, typer.Option("--epoch-only", help="Only raise the epoch of a database that other tools put back.")
    ] = False,
) -> None:
    """Put a backup in the place of a database that is gone.

    Into a folder or database without tables. The log begins a new epoch, and all leases end.
    """
    from heddle_cli.copying import audit_lines, audit_told, code_of_audit, place_of, work
    from heddle_runtime.maintenance.copies import raise_epoch
    from heddle_runtime.maintenance.copies import restore as put_back

    if bool(file) == epoch_only:
        raise typer.BadParameter("name the FILE to restore, or give --epoch-only")
    if epoch_only and service is not ServiceName.RUNTIME:
        raise typer.BadParameter("only the runtime's log has an epoch: leave --epoch-only or --service out")
    place = place_of(data_dir, database, default="", service=service)

    async def put(screen: "Screen", show: Show) -> "ExitCode | None":
        if epoch_only:
            epoch = await raise_epoch(place)
            screen.data({"epoch": epoch}) if screen.machine else screen.say(f"the log's epoch is {epoch} now")
            return None
        done = await put_back(Path(file), place, show)
        if screen.machine:
            screen.data({"file": file, "epoch": done.epoch, **audit_told(done.audit)})
        else:
            epoch = f"; the log's epoch is {done.epoch} now" if done.epoch else ""
            screen.say(f"restored from {file}{epoch}")
            for line in audit_lines(done.audit, service):
                screen.say(line)
        return code_of_audit(done.audit)

    work(context, put)


COMMANDS = {"restore": restore}
