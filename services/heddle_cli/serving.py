"""Serves the runtime in this process, for `heddle up` and `heddle serve`."""

import asyncio
import json
import os
import tempfile
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol

import typer
from pydantic import ValidationError

from heddle_cli.display.screen import Screen
from heddle_grpc.drain import asked_by_signal
from heddle_runtime.logs import set_up_logs
from heddle_runtime.server_wiring import is_development
from heddle_runtime.settings import RuntimeSettings
from heddle_runtime.wiring import RunningRuntime, running_runtime


class Greeting(Protocol):
    """Says that it serves."""

    def __call__(self, address: str, default_model: str, *, development: bool) -> None: ...


def read_settings(values: Mapping[str, Any]) -> RuntimeSettings:
    """The settings: `values` that are not empty, then the environment, then the defaults.

    Raises BadParameter for a value that does not fit, and for one that this version has no setting for.
    """
    given = {name: value for name, value in values.items() if value}
    if not given.pop("no_nats", False):
        pass
    elif "nats" in given:
        raise typer.BadParameter("--nats and --no-nats contradict each other")
    elif "no_nats" in RuntimeSettings.model_fields:
        given["no_nats"] = True
    for name in given:
        if name not in RuntimeSettings.model_fields:
            raise typer.BadParameter(f"--{name} is not served by this version: it keeps its data in SQLite alone")
    if "log_level" not in given and "HEDDLE_LOG_LEVEL" not in os.environ:
        given["log_level"] = "WARNING"
    try:
        return RuntimeSettings(**given)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(step) for step in each['loc'])}: {each['msg']}" for each in error.errors(include_url=False)
        )
        raise typer.BadParameter(f"the settings do not fit: {problems}") from error


def print_settings(settings: RuntimeSettings) -> None:
    """The settings in force as JSON; secrets show as stars."""
    print(settings.model_dump_json(indent=2))


@contextmanager
def ephemeral_folder() -> Generator[str]:
    """A folder that goes when the block is left."""
    with tempfile.TemporaryDirectory(prefix="heddle-", ignore_cleanup_errors=True) as folder:
        yield folder


def serve(settings: RuntimeSettings, screen: Screen, greet: Greeting) -> None:
    """Serve until SIGINT or SIGTERM, then drain. Raises what `running_runtime` raises."""
    set_up_logs(settings.log_level)
    asyncio.run(_serve(settings, screen, greet))


async def _serve(settings: RuntimeSettings, screen: Screen, greet: Greeting) -> None:
    async with asked_by_signal() as asked, running_runtime(settings) as running:
        greet(running.address, running.default_model, development=is_development(settings))
        if screen.machine:
            print(json.dumps(told_address(settings, running)), flush=True)
        await asked.wait()
        screen.note("stopping: what runs is handed over to the next start")
    screen.note("stopped")


def told_address(settings: RuntimeSettings, running: RunningRuntime) -> dict[str, Any]:
    """The line for programs."""
    return {
        "address": running.address,
        "data_dir": str(settings.data_dir.resolve()),
        "model": running.default_model,
        "worker_id": running.worker_id,
        "operations_port": running.operations_port,
        "operations_http_port": running.operations_http_port,
        "pid": os.getpid(),
    }
