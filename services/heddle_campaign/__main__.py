"""`python -m heddle_campaign`: serve the campaign service until SIGTERM or SIGINT.

It is configured by HEDDLE_CAMPAIGN_ variables, and prints one line of JSON when it serves: where, and whose runtime
it uses.
"""

import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial

from heddle_campaign.settings import CampaignServiceSettings
from heddle_campaign.wiring import running_campaign
from heddle_core.settings import read_settings
from heddle_grpc.process import run


@asynccontextmanager
async def serving(settings: CampaignServiceSettings) -> AsyncGenerator[dict[str, object]]:
    """Serve, and say where."""
    async with running_campaign(settings) as campaign:
        yield {
            "address": campaign.address,
            "operations_port": campaign.operations_port,
            "operations_http_port": campaign.operations_http_port,
            "webhooks_port": campaign.webhooks_port,
            "runtime": settings.runtime.address,
        }


def main() -> int:
    """Serve; returns the exit code."""
    return run("heddle-campaign", partial(read_settings, CampaignServiceSettings), serving)


if __name__ == "__main__":
    sys.exit(main())
