"""A service as a process: served until a signal asks it to stop, with one line of JSON that says where."""

import json
import os
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

from heddle_core import failpoints
from heddle_core.event_loop import run_serving
from heddle_core.faults import HeddleError
from heddle_core.json_logs import set_up_logs
from heddle_grpc.drain import asked_by_signal
from heddle_grpc.served_settings import ServedSettings

Running = AbstractAsyncContextManager[Mapping[str, object]]
"""Serves while it is entered; gives what is told on the first line."""


S = TypeVar("S", bound=ServedSettings)


def run(name: str, read: Callable[[], S], serving: Callable[[S], Running]) -> int:
    """As `serve`, by the settings that `read` gives, with a fault of either told on stderr.

    The exit code is 0 after a clean drain, 3 where it cannot serve.
    """
    try:
        settings = read()
        serve(settings.log_level, serving(settings))
    except HeddleError as error:
        sys.stderr.write(f"{name}: {error} [{error.reason}]\n")
        return 3
    return 0


def serve(log_level: str, running: Running) -> None:
    """Serve until SIGTERM or SIGINT, and log lines of JSON to stderr. Raises what keeps it from serving."""
    failpoints.arm(os.environ.get(failpoints.VARIABLE, ""))
    set_up_logs(log_level)
    run_serving(_serve(running))


async def _serve(running: Running) -> None:
    async with asked_by_signal() as asked, running as said:
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()
        await asked.wait()
