"""Which services `heddle up` serves beside the runtime, on its port: the one place that knows them all."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from heddle_grpc.companions import OpenCompanion
    from heddle_runtime.settings import RuntimeSettings
    from heddle_runtime.wiring.bus import FindEndpoint


def companions_of(settings: "RuntimeSettings", find_nats: "FindEndpoint | None") -> "tuple[OpenCompanion, ...]":
    """The other services, with what they share with the runtime; each still has its own variables."""
    from heddle_campaign.settings import CampaignSettings
    from heddle_campaign.wiring import campaign_companion
    from heddle_spawn.settings import SpawnSettings
    from heddle_spawn.wiring import spawn_companion

    spawn = SpawnSettings(data_dir=settings.data_dir, database=settings.database, nats=settings.nats)
    campaign = CampaignSettings(data_dir=settings.data_dir, database=settings.database, nats=settings.nats)
    return spawn_companion(spawn, find_nats), campaign_companion(campaign, find_nats)
