"""A service as a process: served until a signal asks it to stop, with one line of JSON that says where."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager

from heddle_core import failpoints
from heddle_core.faults import HeddleError
from heddle_core.json_logs import set_up_logs
from heddle_grpc.drain import asked_by_signal

Running = AbstractAsyncContextManager[Mapping[str, object]]
"""Serves while it is entered; gives what is told on the first line."""


def run(name: str, log_level: str, running: Running) -> int:
    """As `serve`, with a fault told on stderr. The exit code is 0 after a clean drain, 3 where it cannot serve."""
    try:
        serve(log_level, running)
    except HeddleError as error:
        sys.stderr.write(f"{name}: {error} [{error.reason}]\n")
        return 3
    return 0


def serve(log_level: str, running: Running) -> None:
    """Serve until SIGTERM or SIGINT, and log lines of JSON to stderr. Raises what keeps it from serving."""
    failpoints.arm(os.environ.get(failpoints.VARIABLE, ""))
    set_up_logs(log_level)
    asyncio.run(_serve(running))


async def _serve(running: Running) -> None:
    async with asked_by_signal() as asked, running as said:
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()
        await asked.wait()
