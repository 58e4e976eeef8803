"""`python -m heddle_campaign`: serve the campaign service until SIGTERM or SIGINT.

It is configured by HEDDLE_CAMPAIGN_ variables, and prints one line of JSON when it serves: where, and whose runtime
it uses.
"""

import asyncio
import json
import os
import sys

from heddle_campaign.settings import CampaignSettings
from heddle_campaign.wiring import running_campaign
from heddle_core import failpoints
from heddle_core.faults import HeddleError
from heddle_core.json_logs import set_up_logs
from heddle_grpc.drain import asked_by_signal


async def serve(settings: CampaignSettings) -> None:
    """Serve until asked to stop."""
    async with asked_by_signal() as asked, running_campaign(settings) as campaign:
        said = {
            "address": campaign.address,
            "operations_port": campaign.operations_port,
            "operations_http_port": campaign.operations_http_port,
            "webhooks_port": campaign.webhooks_port,
            "runtime": settings.runtime.address,
        }
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()
        await asked.wait()


def main() -> int:
    """Serve; the exit code is 0 after a clean drain, 3 where it cannot serve."""
    settings = CampaignSettings()
    failpoints.arm(os.environ.get(failpoints.VARIABLE, ""))
    set_up_logs(settings.log_level)
    try:
        asyncio.run(serve(settings))
    except HeddleError as error:
        sys.stderr.write(f"heddle-campaign: {error} [{error.reason}]\n")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
