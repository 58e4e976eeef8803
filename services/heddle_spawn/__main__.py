"""`python -m heddle_spawn`: serve the spawn service until SIGTERM or SIGINT, configured by HEDDLE_SPAWN_ variables.

Prints one line of JSON when it serves: where, and whose runtime it uses.
"""

import asyncio
import json
import os
import sys

from heddle_core import failpoints
from heddle_core.faults import HeddleError
from heddle_core.json_logs import set_up_logs
from heddle_grpc.drain import asked_by_signal
from heddle_spawn.settings import SpawnSettings
from heddle_spawn.wiring import running_spawn


async def serve(settings: SpawnSettings) -> None:
    """Serve until asked to stop."""
    async with asked_by_signal() as asked, running_spawn(settings) as spawn:
        said = {
            "address": spawn.address,
            "operations_port": spawn.operations_port,
            "operations_http_port": spawn.operations_http_port,
            "runtime": settings.runtime.address,
        }
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()
        await asked.wait()


def main() -> int:
    """Serve; the exit code is 0 after a clean drain, 3 where it cannot serve."""
    settings = SpawnSettings()
    failpoints.arm(os.environ.get(failpoints.VARIABLE, ""))
    set_up_logs(settings.log_level)
    try:
        asyncio.run(serve(settings))
    except HeddleError as error:
        sys.stderr.write(f"heddle-spawn: {error} [{error.reason}]\n")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
