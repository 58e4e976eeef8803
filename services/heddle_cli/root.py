"""The tree of commands, in one place. A command's file is imported only when that command is run.

`heddle --help` must answer at once, and gRPC, pydantic and rich take a second to import.
"""

import copy
from collections.abc import Callable
from importlib import import_module
from typing import Any, cast

import typer
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command, get_group

from heddle_cli.options import DEFAULT_ADDRESS, Address, Machine, Options, ShowRequest, Timeout, Token, keep, override

COMMANDS: dict[str, str] = {
    "up": "Serve Heddle here: one process, one port, files in one folder.",
    "demo": "Show Heddle at work on this machine, a crash included.",
    "chat": "Talk with an agent.",
    "run": "Start one turn and show what the agent answers.",
    "watch": "Follow a thread or a run, from any point, live.",
    "threads": "List, show and change threads.",
    "runs": "List and show runs, and sum up what they used.",
    "explain": "Say why a run does not move, or what an error means.",
    "cancel": "Stop a run and its children.",
    "answer": "Answer what an agent asks, or list what is asked.",
    "retry": "Run a turn again, with other words if you like.",
    "agents": "List, show, make and change agents; list models.",
    "apply": "Make campaigns and agents what a folder of files says.",
    "campaign": "Show, move, trigger and follow campaigns; what they learned.",
    "cycle": "Show, retry and cancel one cycle of a campaign.",
    "spawn": "Show, follow and cancel what agents delegated to others.",
    "tools": "List tools, and where they come from.",
    "verify": "Check the numbers and the hash chain of threads.",
    "backup": "Copy a whole database to a file, while it is served or not.",
    "restore": "Put a backup in the place of a database that is gone.",
    "dump": "Write all rows of a database to a file, for either engine.",
    "load": "Load a dump into an empty database of either engine.",
    "finish": "End a rollout: change in the tables what waited for it.",
    "export": "Write a thread as a scenario that a scripted model replays.",
    "serve": "Serve one service, configured by the environment.",
    "doctor": "Look for what is missing here, and say what to do.",
}
"""Each is a file in `commands/` whose `COMMANDS` names its functions; one function is a command without parts."""


def build() -> TyperGroup:
    """The command `heddle`."""
    root = typer.Typer(
        name="heddle",
        cls=LazyGroup,
        help="Heddle runs agents durably: what was accepted survives any crash.",
        epilog="Start with `heddle up`, then `heddle chat` in another terminal; or with `heddle demo`.",
        rich_markup_mode=None,
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    root.callback()(_root)
    return cast("TyperGroup", get_command(root))


class LazyGroup(TyperGroup):
    """A group that knows its commands by name and line, and reads their files when they are called."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for name, line in COMMANDS.items():
            self.add_command(TyperCommand(name, help=line, rich_markup_mode=None), name)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The real command in place of the line that stands for it."""
        name, found, rest = super().resolve_command(ctx, args)
        if name is None or found is None:
            return name, found, rest
        return name, load(name, [each for each in self.params if each.name in _SHARED]), rest


def load(name: str, shared: list[Any]) -> Any:
    """The command `name`, which takes the options `shared` too, wherever they stand."""
    functions: dict[str, Callable[..., None]] = import_module(f"heddle_cli.commands.{name}").COMMANDS
    app = typer.Typer(
        name=name, help=COMMANDS[name], rich_markup_mode=None, add_completion=False, no_args_is_help=len(functions) > 1
    )
    for part, function in functions.items():
        app.command(part)(function)
    command = get_group(app) if len(functions) > 1 else get_command(app)
    for leaf in [command, *getattr(command, "commands", {}).values()]:
        leaf.params.extend(_after_the_name(each) for each in shared)
    return command


_SHARED = ("address", "token", "timeout", "machine", "show_request")


def _after_the_name(option: Any) -> Any:
    """The shared option as a command takes it: it changes what was given before, if it was given."""
    late = copy.copy(option)
    late.expose_value = False
    late.envvar = None
    late.default = None
    late.show_default = False

    def take(context: typer.Context, parameter: Any, value: Any) -> None:
        given = context.get_parameter_source(parameter.name)
        if given is not None and given.name == "COMMANDLINE":
            override(context, parameter.name, value)

    late.callback = take
    return late


def _print_version(wanted: bool) -> None:
    if wanted:
        from heddle_cli.version import version_of_heddle

        print(f"heddle {version_of_heddle()}")
        raise typer.Exit


def _root(
    context: typer.Context,
    *,
    address: Address = DEFAULT_ADDRESS,
    token: Token = "",
    timeout: Timeout = 30.0,
    machine: Machine = False,
    show_request: ShowRequest = False,
    version: bool = typer.Option(
        False, "--version", help="Print the version and exit.", is_eager=True, callback=_print_version
    ),
) -> None:
    keep(context, Options(address, token, timeout, machine, show_request))
