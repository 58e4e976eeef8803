"""`python -m heddle_runtime`: serve the runtime until SIGTERM or SIGINT, configured by HEDDLE_ variables.

Prints one line of JSON when it serves: where, and under which worker id.
"""

import asyncio
import json
import os
import sys

from heddle_core import failpoints
from heddle_core.cycles import leave_out_what_is_here, look_rarely
from heddle_core.faults import HeddleError
from heddle_core.json_logs import set_up_logs
from heddle_grpc.drain import asked_by_signal
from heddle_runtime.settings import RuntimeSettings
from heddle_runtime.wiring.runtime import running_runtime


async def serve(settings: RuntimeSettings) -> None:
    """Serve until asked to stop."""
    async with asked_by_signal() as asked, running_runtime(settings) as runtime:
        leave_out_what_is_here()
        said = {
            "address": runtime.address,
            "operations_port": runtime.operations_port,
            "operations_http_port": runtime.operations_http_port,
            "worker_id": runtime.worker_id,
            "model": runtime.default_model,
        }
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()
        await asked.wait()


def main() -> int:
    """Serve; the exit code is 0 after a clean drain, 3 where it cannot serve."""
    look_rarely()
    settings = RuntimeSettings()
    failpoints.arm(os.environ.get(failpoints.VARIABLE, ""))
    set_up_logs(settings.log_level)
    try:
        asyncio.run(serve(settings))
    except HeddleError as error:
        sys.stderr.write(f"heddle-runtime: {error} [{error.reason}]\n")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
