"""`heddle serve`."""

from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from heddle_cli.composition import ServiceName

if TYPE_CHECKING:
    from collections.abc import Callable

    from heddle_grpc.process import Running
    from heddle_service.settings import ServiceSettings

S = TypeVar("S", bound="ServiceSettings")


def serve(
    context: typer.Context,
    service: Annotated[ServiceName, typer.Argument(metavar="SERVICE", help="Which one: runtime, spawn or campaign.")],
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the settings in force, secrets hidden, and exit.")
    ] = False,
) -> None:
    """Serve one service, configured by the environment.

    For containers: it prints one line of JSON when it serves, and logs JSON lines to stderr.
    """
    from heddle_cli.display.screen import Screen
    from heddle_cli.faults import told
    from heddle_cli.serving import print_settings, read_runtime_settings
    from heddle_cli.serving import serve as serve_runtime

    screen = Screen(machine=True)
    with told(screen):
        match service:
            case ServiceName.SPAWN:
                _serve_spawn(print_config=print_config)
                return
            case ServiceName.CAMPAIGN:
                _serve_campaign(print_config=print_config)
                return
            case ServiceName.RUNTIME:
                pass
        settings = read_runtime_settings({}, log_level="INFO")
        if print_config:
            print_settings(settings)
        else:
            serve_runtime(settings, screen, _say_nothing)


def _serve_spawn(*, print_config: bool) -> None:
    from heddle_core.settings import read_settings
    from heddle_spawn.__main__ import serving
    from heddle_spawn.settings import SpawnSettings

    _serve_beside(read_settings(SpawnSettings), serving, print_config=print_config)


def _serve_campaign(*, print_config: bool) -> None:
    from heddle_campaign.__main__ import serving
    from heddle_campaign.settings import CampaignServiceSettings
    from heddle_core.settings import read_settings

    _serve_beside(read_settings(CampaignServiceSettings), serving, print_config=print_config)


def _serve_beside(settings: "S", serving: "Callable[[S], Running]", *, print_config: bool) -> None:
    if print_config:
        print(settings.model_dump_json(indent=2))
        return
    from heddle_grpc.process import serve as serve_process

    serve_process(settings.log_level, serving(settings))


def _say_nothing(address: str, default_model: str, bus: str, *, development: bool) -> None:
    """The line of JSON says it all."""


COMMANDS = {"serve": serve}
