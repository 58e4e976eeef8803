"""`heddle demo`."""

from typing import Annotated

import typer

_LOCAL = "local:smollm2"
_SCRIPTED = "scripted:demo"


def demo(
    context: typer.Context,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            envvar="MODEL",
            help="Model for the brief; `scripted` needs none.  [default: local:smollm2]",
        ),
    ] = "",
    keep: Annotated[str, typer.Option("--keep", metavar="FOLDER", help="Keep data and log in this new folder.")] = "",
) -> None:
    """Show Heddle at work on this machine, a crash included.

    It starts a server, has a model work on a brief, kills the server in the middle of the answer, starts it again,
    and checks that nothing was lost. Exits with 1 when anything of that is not so.
    """
    import asyncio
    import tempfile
    from pathlib import Path

    from heddle_cli.demo.examples import find_examples
    from heddle_cli.demo.play import Demo
    from heddle_cli.display.screen import Screen
    from heddle_cli.faults import leave, told
    from heddle_cli.options import options_of

    chosen = {"": _LOCAL, "scripted": _SCRIPTED}.get(model, model)
    screen = Screen(machine=options_of(context).machine)
    with told(screen):
        _require(chosen)
        if keep:
            folder = Path(keep).absolute()
            folder.mkdir(parents=True, exist_ok=False)
            leave(asyncio.run(Demo(screen, find_examples(), folder, chosen).play()))
            return
        with tempfile.TemporaryDirectory(prefix="heddle-demo-", ignore_cleanup_errors=True) as temporary:
            leave(asyncio.run(Demo(screen, find_examples(), Path(temporary), chosen).play()))


def _require(model: str) -> None:
    """Say at once what to install for the local model, instead of failing in the middle of the story."""
    from heddle_core.errors import CannotServe
    from heddle_runtime.models.catalogue import missing_for_local

    missing = missing_for_local() if model == _LOCAL else None
    if missing is not None:
        raise CannotServe(f"model {model}", missing, "install it, or run `heddle demo --model scripted`")


COMMANDS = {"demo": demo}
