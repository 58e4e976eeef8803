"""`python -m heddle_runtime`: serve the runtime until SIGTERM or SIGINT, configured by HEDDLE_ variables.

Prints one line of JSON when it serves: where, and under which worker id.
"""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

from heddle_core.cycles import leave_out_what_is_here, look_rarely
from heddle_core.settings import read_settings
from heddle_grpc.process import run
from heddle_runtime.settings import RuntimeSettings
from heddle_runtime.wiring.runtime import running_runtime


@asynccontextmanager
async def serving(settings: RuntimeSettings) -> AsyncGenerator[dict[str, object]]:
    """Serve, and say where."""
    async with running_runtime(settings) as runtime:
        leave_out_what_is_here()
        yield {
            "address": runtime.address,
            "operations_port": runtime.operations_port,
            "operations_http_port": runtime.operations_http_port,
            "worker_id": runtime.worker_id,
            "model": runtime.default_model,
        }


def main() -> int:
    """Serve; returns the exit code."""
    look_rarely()
    return run("heddle-runtime", partial(read_settings, RuntimeSettings), serving)


if __name__ == "__main__":
    sys.exit(main())
