"""`heddle serve`."""

from enum import Enum
from typing import Annotated

import typer


class ServiceName(Enum):
    """Services that can be served by themselves."""

    RUNTIME = "runtime"
    SPAWN = "spawn"


def serve(
    context: typer.Context,
    service: Annotated[ServiceName, typer.Argument(metavar="SERVICE", help="Which one: runtime or spawn.")],
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the settings in force, secrets hidden, and exit.")
    ] = False,
) -> None:
    """Serve one service, configured by the environment.

    For containers: it prints one line of JSON when it serves, and logs JSON lines to stderr.
    """
    import os

    from heddle_cli.display.screen import Screen
    from heddle_cli.faults import told
    from heddle_cli.serving import print_settings, read_settings
    from heddle_cli.serving import serve as serve_runtime

    screen = Screen(machine=True)
    with told(screen):
        if service is ServiceName.SPAWN:
            _serve_spawn(print_config=print_config)
            return
        settings = read_settings({"log_level": os.environ.get("HEDDLE_LOG_LEVEL", "INFO")})
        if print_config:
            print_settings(settings)
        else:
            serve_runtime(settings, screen, _say_nothing)


def _serve_spawn(*, print_config: bool) -> None:
    import asyncio
    import os

    from pydantic import ValidationError

    from heddle_core import failpoints
    from heddle_spawn.__main__ import serve as serve_spawn
    from heddle_spawn.logs import set_up_logs
    from heddle_spawn.settings import SpawnSettings

    try:
        settings = SpawnSettings()
    except ValidationError as error:
        raise typer.BadParameter(f"the settings do not fit: {error}") from error
    if print_config:
        print(settings.model_dump_json(indent=2))
        return
    failpoints.arm(os.environ.get(failpoints.VARIABLE, ""))
    set_up_logs(settings.log_level)
    asyncio.run(serve_spawn(settings))


def _say_nothing(address: str, default_model: str, bus: str, *, development: bool) -> None:
    """The line of JSON says it all."""


COMMANDS = {"serve": serve}
