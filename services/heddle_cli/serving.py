"""Serves the runtime in this process, for `heddle up` and `heddle serve`."""

import json
import os
import tempfile
from collections.abc import Generator, Mapping
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import typer

from heddle_cli.bundled_nats import bundled_nats
from heddle_cli.composition import companions_of
from heddle_cli.display.screen import Screen
from heddle_core.cycles import leave_out_what_is_here
from heddle_core.errors import CannotServe
from heddle_core.event_loop import run_serving
from heddle_core.json_logs import set_up_logs
from heddle_core.settings import read_settings
from heddle_runtime.settings import RuntimeSettings

if TYPE_CHECKING:
    from heddle_runtime.wiring.runtime import RunningRuntime


class Greeting(Protocol):
    """Says that it serves."""

    def __call__(self, address: str, default_model: str, bus: str, *, development: bool) -> None: ...


def read_runtime_settings(values: Mapping[str, Any], *, log_level: str = "WARNING") -> RuntimeSettings:
    """The settings: `values` that are not empty, then the environment, then the defaults, with `log_level` among them.

    Raises:
        BadParameter: options that contradict each other.
        CannotServe: what does not fit.
    """
    given = {name: value for name, value in values.items() if value}
    if "no_nats" in given and "nats" in given:
        raise typer.BadParameter("--nats and --no-nats contradict each other")
    if "HEDDLE_LOG_LEVEL" not in os.environ:
        given["log_level"] = log_level
    return read_settings(RuntimeSettings, **given)


def print_settings(settings: RuntimeSettings) -> None:
    """The settings in force as JSON; secrets show as stars."""
    print(settings.model_dump_json(indent=2))


@contextmanager
def ephemeral_folder() -> Generator[str]:
    """A folder that goes when the block is left. Raises CannotServe where none can be made."""
    try:
        folder = tempfile.TemporaryDirectory(prefix="heddle-", ignore_cleanup_errors=True)
    except OSError as error:
        remedy = "set TMPDIR to a folder that this user may write to, or name one with --data-dir"
        raise CannotServe("--ephemeral", error.strerror or str(error), remedy) from error
    with folder as path:
        yield path


def serve(settings: RuntimeSettings, screen: Screen, greet: Greeting, *, bundle: bool = False) -> None:
    """Serve until SIGINT or SIGTERM, then drain; with `bundle`, the other services beside the runtime, on a NATS of
    its own unless the settings say otherwise.

    Raises what `running_runtime` raises.
    """
    set_up_logs(settings.log_level)
    run_serving(_serve(settings, screen, greet, bundle=bundle))


async def _serve(settings: RuntimeSettings, screen: Screen, greet: Greeting, *, bundle: bool) -> None:
    async with AsyncExitStack() as stack:
        # First, so that it comes up while the rest is loaded.
        own_nats = bundle and not settings.no_nats and not settings.nats
        nats = await stack.enter_async_context(bundled_nats(settings.data_dir / "nats")) if own_nats else None
        from heddle_grpc.drain import asked_by_signal
        from heddle_grpc.identity_kinds import is_development
        from heddle_runtime.wiring.runtime import running_runtime

        asked = await stack.enter_async_context(asked_by_signal())
        find_nats = nats.endpoint if nats else None
        companions = companions_of(settings, find_nats) if bundle else ()
        running = await stack.enter_async_context(running_runtime(settings, find_nats, companions))
        leave_out_what_is_here()
        bus = ",".join(nats.endpoint().servers) if nats else settings.nats
        greet(running.address, running.default_model, bus, development=is_development(settings))
        if screen.machine:
            told = {"nats": bus, "nats_endpoint": str(nats.endpoint_file.resolve()) if nats else ""}
            print(json.dumps({**told_address(settings, running), **told}), flush=True)
        await asked.wait()
        screen.note("stopping: what runs is handed over to the next start")
    screen.note("stopped")


def told_address(settings: RuntimeSettings, running: "RunningRuntime") -> dict[str, Any]:
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
