"""`python -m heddle_spawn`: serve the spawn service until SIGTERM or SIGINT, configured by HEDDLE_SPAWN_ variables.

Prints one line of JSON when it serves: where, and whose runtime it uses.
"""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

from heddle_core.settings import read_settings
from heddle_grpc.process import run
from heddle_spawn.settings import SpawnSettings
from heddle_spawn.wiring import running_spawn


@asynccontextmanager
async def serving(settings: SpawnSettings) -> AsyncGenerator[dict[str, object]]:
    """Serve, and say where."""
    async with running_spawn(settings) as spawn:
        yield {
            "address": spawn.address,
            "operations_port": spawn.operations_port,
            "operations_http_port": spawn.operations_http_port,
            "runtime": settings.runtime.address,
        }


def main() -> int:
    """Serve; returns the exit code."""
    return run("heddle-spawn", partial(read_settings, SpawnSettings), serving)


if __name__ == "__main__":
    sys.exit(main())
