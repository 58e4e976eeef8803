"""`heddle dump`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from heddle_cli.composition import ServiceName
from heddle_cli.copying import DatabaseUrl, DataDir, Service, Show

if TYPE_CHECKING:
    from heddle_cli.display.screen import Screen


def dump(
    context: typer.Context,
    to: Annotated[str, typer.Option("--to", metavar="FILE", help="The new file.")],
    data_dir: DataDir = "",
    database: DatabaseUrl = "",
    service: Service = ServiceName.RUNTIME,
) -> None:
    """Write all rows of a database to a file, for either engine.

    As they are at one moment, while it is served or not. The same rows give the same file, to the byte.
    """
    from heddle_cli.copying import place_of, work
    from heddle_runtime.maintenance import copies

    place = place_of(data_dir, database, service=service)

    async def write(screen: "Screen", show: Show) -> None:
        held = await copies.dump(place, Path(to), show)
        if screen.machine:
            screen.data({"file": to, "rows": held.rows, "revisions": held.revisions, "sha256": held.sha256})
        else:
            events = f", {held.rows['events']} of them events" if "events" in held.rows else ""
            screen.say(f"{to}: {sum(held.rows.values())} rows{events}")
            screen.say(f"sha256 of its lines: {held.sha256}")

    work(context, write)


COMMANDS = {"dump": dump}
