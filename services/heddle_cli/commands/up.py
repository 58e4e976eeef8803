"""`heddle up`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from heddle_cli.display.screen import Screen
    from heddle_runtime.settings import RuntimeSettings


def up(
    context: typer.Context,
    data_dir: Annotated[
        str, typer.Option("--data-dir", metavar="FOLDER", help="Where data lies.  [default: .heddle]")
    ] = "",
    ephemeral: Annotated[bool, typer.Option("--ephemeral", help="In a temporary folder that goes at the end.")] = False,
    listen: Annotated[
        str,
        typer.Option(
            "--listen", metavar="HOST:PORT", help="Where to listen; port 0 picks one.  [default: 127.0.0.1:7233]"
        ),
    ] = "",
    model: Annotated[
        str, typer.Option("--model", "-m", help="Default model, as local:smollm2, openai:gpt-5 or scripted:FILE.yaml.")
    ] = "",
    database: Annotated[str, typer.Option("--database", metavar="URL", help="PostgreSQL instead of SQLite.")] = "",
    nats: Annotated[str, typer.Option("--nats", metavar="URL", help="A NATS server instead of the bundled one.")] = "",
    no_nats: Annotated[bool, typer.Option("--no-nats", help="Without NATS: nobody outside is told of events.")] = False,
    print_address: Annotated[
        bool, typer.Option("--print-address", help="Print one line of JSON with the address when it serves.")
    ] = False,
    print_config: Annotated[
        bool, typer.Option("--print-config", help="Print the settings in force, secrets hidden, and exit.")
    ] = False,
) -> None:
    """Serve Heddle here: one process, one port, files in one folder.

    Every setting can also come from the environment, as HEDDLE_LIMITS__STEPS=12; options win.
    """
    from heddle_cli.display.screen import Screen
    from heddle_cli.faults import told
    from heddle_cli.options import options_of
    from heddle_cli.serving import ephemeral_folder, print_settings, read_runtime_settings, serve

    if ephemeral and data_dir:
        raise typer.BadParameter("--ephemeral makes its own folder: leave --data-dir out")
    values: dict[str, Any] = {"data_dir": data_dir, "listen": listen, "model": model}
    values |= {"database": database, "nats": nats, "no_nats": no_nats}
    screen = Screen(machine=print_address or options_of(context).machine)
    with told(screen):
        if print_config:
            print_settings(read_runtime_settings(values))
        elif ephemeral:
            with ephemeral_folder() as folder:
                _serve(screen, read_runtime_settings({**values, "data_dir": folder}), "goes away at the end", serve)
        else:
            _serve(screen, read_runtime_settings(values), "stays", serve)


def _serve(screen: "Screen", settings: "RuntimeSettings", fate: str, serve: Any) -> None:
    def greet(address: str, default_model: str, bus: str, *, development: bool) -> None:
        if not screen.machine:
            for line in greeting(address, settings.data_dir, fate, default_model, bus, development=development):
                screen.say(line)

    serve(settings, screen, greet, bundle=True)


def greeting(address: str, data_dir: Path, fate: str, model: str, bus: str = "", *, development: bool) -> list[str]:
    """What is said when it serves: where, with what, and what to type next. Pure."""
    from heddle_cli.options import DEFAULT_ADDRESS

    at = "" if address == DEFAULT_ADDRESS else f" --address {address}"
    lines = [
        f"Heddle listens on {address}",
        f"  data   {data_dir.resolve()} ({fate})",
        *([f"  events {bus}"] if bus else []),
        f"  model  {model}",
    ]
    match model.partition(":")[0]:
        case "scripted":
            lines.append("         it plays a file and knows nothing: `heddle agents models` lists others;")
            lines.append("         take one with `heddle up --model local:smollm2`, or set OPENAI_API_KEY and name it")
        case "local":
            lines.append("         it is tiny, its words are poor: any OpenAI-compatible server is one setting away,")
            lines.append('         as HEDDLE_MODELS__COMPATIBLE=\'{"mine":"http://127.0.0.1:11434/v1"}\'')
        case _:
            pass
    if development:
        lines.append("  callers are taken at their word (development identity): loopback only, not for production")
    lines.append(f"Next, in another terminal: heddle chat{at}    (Ctrl-C here stops the server)")
    return lines


COMMANDS = {"up": up}
