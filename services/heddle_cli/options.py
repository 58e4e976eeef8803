"""What every command understands: where the server is, who asks, and in which form to answer."""

from dataclasses import replace
from typing import Annotated, Any

import typer

from heddle_core.values import value

DEFAULT_ADDRESS = "127.0.0.1:7233"

Address = Annotated[
    str, typer.Option("--address", envvar="HEDDLE_ADDRESS", metavar="HOST:PORT", help="Server to talk to.")
]
Token = Annotated[
    str,
    typer.Option("--token", envvar="HEDDLE_TOKEN", metavar="TOKEN", help="Bearer token to send.", show_default=False),
]
Timeout = Annotated[
    float, typer.Option("--timeout", metavar="SECONDS", min=0.001, help="Longest time for one call; streams have none.")
]
Machine = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
ShowRequest = Annotated[bool, typer.Option("--show-request", help="Print each call as a `buf curl` line.")]


@value
class Options:
    """The shared options, as given."""

    address: str = DEFAULT_ADDRESS
    token: str = ""
    """Empty: none is sent."""
    timeout: float = 30.0
    """Seconds for a unary call."""
    machine: bool = False
    show_request: bool = False


def keep(context: typer.Context, options: Options) -> None:
    """Remember what was given before the command's name."""
    context.find_root().obj = options


def options_of(context: typer.Context) -> Options:
    """The options in force: those before the command's name, then those after it."""
    options: object = context.find_root().obj
    assert isinstance(options, Options), "the root command keeps them before any other runs"
    return options


def override(context: typer.Context, name: str, value: Any) -> None:
    """Take a value that was given after the command's name."""
    keep(context, replace(options_of(context), **{name: value}))
