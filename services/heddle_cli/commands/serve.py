"""`heddle serve`."""

from enum import Enum
from typing import Annotated

import typer


class ServiceName(Enum):
    """Services that can be served by themselves."""

    RUNTIME = "runtime"


def serve(
    context: typer.Context,
    service: Annotated[ServiceName, typer.Argument(metavar="SERVICE", help="Which one: runtime.")],
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the settings in force, secrets hidden, and exit.")
    ] = False,
) -> None:
    """Serve one service, configured by the environment.

    For containers: it prints one line of JSON when it serves, and logs JSON lines to stderr.
    """
    import os

    from heddle_cli.display.screen import Screen
    from heddle_cli.serving import print_settings, read_settings
    from heddle_cli.serving import serve as serve_runtime
    from heddle_cli.session import told

    assert service is ServiceName.RUNTIME, "there is no other yet"
    screen = Screen(machine=True)
    with told(screen):
        settings = read_settings({"log_level": os.environ.get("HEDDLE_LOG_LEVEL", "INFO")})
        if print_config:
            print_settings(settings)
        else:
            serve_runtime(settings, screen, _say_nothing)


def _say_nothing(address: str, default_model: str, *, development: bool) -> None:
    """The line of JSON says it all."""


COMMANDS = {"serve": serve}
