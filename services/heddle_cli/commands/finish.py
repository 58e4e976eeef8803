"""`heddle finish`."""

from typing import TYPE_CHECKING

import typer

from heddle_cli.composition import ServiceName
from heddle_cli.copying import DatabaseUrl, DataDir, Service, Show

if TYPE_CHECKING:
    from heddle_cli.display.screen import Screen


def finish(
    context: typer.Context,
    data_dir: DataDir = "",
    database: DatabaseUrl = "",
    service: Service = ServiceName.RUNTIME,
) -> None:
    """End a rollout: change in the tables what waited for it.

    What an older version could not have lived with, such as the end of a column. To be run when every process of it is
    gone for good: it refuses to start from then on.
    """
    from heddle_cli.copying import place_of, work
    from heddle_runtime.maintenance.databases import finish_upgrade

    place = place_of(data_dir, database, service=service)

    async def end(screen: "Screen", _show: Show) -> None:
        revision = await finish_upgrade(place)
        if screen.machine:
            screen.data({"service": service.value, "revision": revision})
        elif revision is None:
            screen.say("nothing waits for the end of an older version")
        else:
            screen.say(f"the tables are finished, at revision {revision}")

    work(context, end)


COMMANDS = {"finish": finish}
