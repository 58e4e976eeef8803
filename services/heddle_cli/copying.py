"""What the commands share that work on a database itself, and not on a server: where it is, and how far they are."""

import os
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from heddle_cli.composition import ServiceName, holding_of

if TYPE_CHECKING:
    from heddle_cli.display.screen import Screen
    from heddle_cli.faults import ExitCode
    from heddle_runtime.maintenance.auditing import Audit
    from heddle_runtime.maintenance.databases import Place

DataDir = Annotated[
    str, typer.Option("--data-dir", "--data", metavar="FOLDER", help="Folder of the embedded database.")
]
DatabaseUrl = Annotated[
    str,
    typer.Option("--database", envvar="HEDDLE_DATABASE", metavar="URL", help="PostgreSQL instead.", show_default=False),
]

Service = Annotated[
    ServiceName, typer.Option("--service", help="Whose database; each service beside the runtime has its own.")
]

Show = Callable[[str, int, int], None]
"""Shows what is done, and how much of how much; of zero: nobody knows how much there is."""

_DEFAULT = ".heddle"
_EVERY = 0.1
"""Seconds between two looks of the line that shows how far it is."""


def place_of(data_dir: str, url: str, default: str = _DEFAULT, service: ServiceName = ServiceName.RUNTIME) -> "Place":
    """The database that is meant; without a word the embedded one that `heddle up` uses.

    Raises BadParameter when both are named, or neither and there is no default.
    """
    from heddle_runtime.maintenance.databases import Place

    holding = holding_of(service)
    if data_dir and url == os.environ.get("HEDDLE_DATABASE"):
        url = ""  # an option wins over the environment
    if data_dir and url:
        raise typer.BadParameter("--data-dir and --database name two databases: leave one out")
    if not (data_dir or url or default):
        raise typer.BadParameter("name the database: --data-dir FOLDER or --database URL")
    return Place(url=url, holding=holding) if url else Place(Path(data_dir or default), holding=holding)


def work(context: typer.Context, action: "Callable[[Screen, Show], Awaitable[ExitCode | None]]") -> None:
    """Run a command's `action` without a server. Exits with its code when that is not OK."""
    import asyncio

    from heddle_cli.display.screen import Screen
    from heddle_cli.options import options_of
    from heddle_cli.session import leave, told

    screen = Screen(machine=options_of(context).machine)
    with told(screen), _files_told():
        with progress(screen) as show:
            code = asyncio.run(_run(action(screen, show)))
        leave(code)


@contextmanager
def progress(screen: "Screen") -> Generator[Show]:
    """A bar on stderr while the block lasts, where somebody watches; else nothing."""
    if screen.machine or not screen.err.is_terminal:
        yield _show_nothing
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=screen.err, transient=True, auto_refresh=False) as bars:
        shown: dict[str, Any] = {}
        last = 0.0

        def show(what: str, done: int, of: int) -> None:
            nonlocal last
            if what not in shown:
                shown[what] = bars.add_task(what, total=None)
            bars.update(shown[what], completed=done, total=of or None)
            if time.monotonic() - last > _EVERY:
                last = time.monotonic()
                bars.refresh()

        yield show


def audit_told(found: "Audit") -> dict[str, Any]:
    """What was verified, for programs."""
    from dataclasses import asdict

    return {
        "ok": not found.problems,
        "threads": found.threads,
        "events": found.events,
        "snapshots": found.snapshots,
        "redacted": found.redacted,
        "events_per_second": found.events_per_second,
        "problems": [asdict(each) for each in found.problems],
    }


def audit_lines(found: "Audit", service: ServiceName = ServiceName.RUNTIME) -> list[str]:
    """What was verified, for people: what is wrong first, then the sum. Only the runtime has a log to verify."""
    if service is not ServiceName.RUNTIME:
        return []
    wrong = [
        f"BROKEN   {each.tenant}/{each.thread_id}: {each.problem}" if each.thread_id else f"BROKEN   {each.problem}"
        for each in found.problems
    ]
    verdict = f"{len(wrong)} problems" if wrong else "all is well"
    return [
        *wrong,
        f"{verdict}: {found.threads} threads, {found.events} events, {found.snapshots} snapshots, "
        f"{found.redacted} redacted; {found.events_per_second} events/s",
    ]


def code_of_audit(found: "Audit") -> "ExitCode":
    """3 where something does not verify."""
    from heddle_cli.faults import ExitCode

    return ExitCode.HEDDLE_ERROR if found.problems else ExitCode.OK


async def _run(action: "Awaitable[ExitCode | None]") -> "ExitCode | None":
    return await action


@contextmanager
def _files_told() -> Generator[None]:
    """Tell what the file system refuses as wrong usage: it names the file, and what is wrong with it."""
    try:
        yield
    except OSError as error:
        raise typer.BadParameter(f"{error.filename or 'file'}: {error.strerror or error}") from error


def _show_nothing(_what: str, _done: int, _of: int) -> None:
    """Nobody watches."""
