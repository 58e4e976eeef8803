"""What a fault means for whoever typed the command: words on stderr, and the exit code."""

import json
from collections.abc import Generator
from contextlib import contextmanager
from enum import IntEnum

import typer

from heddle_cli.display.screen import Screen
from heddle_core.errors import ForeignError, InvalidField, ServiceUnreachable
from heddle_core.faults import HeddleError


class ExitCode(IntEnum):
    """What scripts can go by. 2, wrong usage, is typer's own."""

    OK = 0
    RUN_FAILED = 1
    """The run failed or was cancelled; or a check found something wrong."""
    USAGE = 2
    HEDDLE_ERROR = 3
    UNREACHABLE = 4
    INTERRUPTED = 130


@contextmanager
def told(screen: Screen) -> Generator[None]:
    """Tell errors on stderr, and exit with the code that stands for them."""
    try:
        yield
    except HeddleError as error:
        if screen.machine:
            screen.note(told_to_programs(error))
        else:
            for line in told_to_people(error):
                screen.note(line)
        raise typer.Exit(int(code_of(error))) from None
    except KeyboardInterrupt:
        raise typer.Exit(int(ExitCode.INTERRUPTED)) from None


def leave(code: ExitCode | None) -> None:
    """Exit with `code` unless all is well."""
    if code:
        raise typer.Exit(int(code))


def code_of(error: HeddleError) -> ExitCode:
    """The exit code for an error."""
    return ExitCode.UNREACHABLE if isinstance(error, ServiceUnreachable) else ExitCode.HEDDLE_ERROR


def problem_and_remedy(error: HeddleError) -> tuple[str, str]:
    """The two halves of an error's message: what is wrong, and what to do."""
    whole = str(error)
    if isinstance(error, InvalidField):
        return "The request was not accepted", whole
    if isinstance(error, ForeignError):
        return whole, ""
    template = " ".join((type(error).__doc__ or "").split())
    first, colon, second = template.partition(": ")
    if not colon:
        return whole, ""
    return first.format(**error.metadata), second.format(**error.metadata)


def told_to_people(error: HeddleError) -> list[str]:
    """The lines for a person: the problem, the remedy and, if a server told it, the reason."""
    problem, remedy = problem_and_remedy(error)
    if isinstance(error, ServiceUnreachable):
        remedy = "start it with `heddle up`, or name another with --address"
    lines = [f"error: {problem}"]
    if remedy:
        lines.append(f"  what to do: {remedy}")
    if not hasattr(error, "status"):  # it was met here, by a command that serves: no server answers so
        return lines
    if error.reason:
        lines.append(f"  reason: {error.reason} ({error.status.name}); `heddle explain {error.reason}` tells more")
    else:
        lines.append(f"  reason: {error.status.name}")
    return lines


def told_to_programs(error: HeddleError) -> str:
    """The same as one JSON object."""
    problem, remedy = problem_and_remedy(error)
    told = {
        "reason": error.reason,
        "status": error.status.name if hasattr(error, "status") else "",
        "message": str(error),
        "problem": problem,
        "remedy": remedy,
        "metadata": error.metadata,
        "retry_after_seconds": error.retry_after.total_seconds() if error.retry_after else None,
    }
    return json.dumps({"error": told}, ensure_ascii=False)
