"""Which services there are, and which `heddle up` serves beside the runtime: the one place that knows them all."""

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from heddle_bus.endpoint import FindEndpoint
    from heddle_campaign.settings import CampaignServiceSettings
    from heddle_grpc.companions import OpenCompanion
    from heddle_runtime.maintenance.databases import Holding
    from heddle_runtime.settings import RuntimeSettings


class ServiceName(Enum):
    """The services that there are."""

    RUNTIME = "runtime"
    SPAWN = "spawn"
    CAMPAIGN = "campaign"


def holding_of(service: ServiceName) -> "Holding":
    """What a service keeps in its database."""
    from heddle_database.migration_files import Migrations
    from heddle_runtime.maintenance.databases import RUNTIME, Holding

    if service is ServiceName.RUNTIME:
        return RUNTIME
    folder = Path(__file__).parents[1] / f"heddle_{service.value}" / "store" / "migrations"
    return Holding(f"{service.value}.db", Migrations(service.value, folder))


def companions_of(settings: "RuntimeSettings", find_nats: "FindEndpoint | None") -> "tuple[OpenCompanion, ...]":
    """The other services, with what they share with the runtime; each still has its own variables.

    Raises CannotServe for variables of theirs that do not fit, and as `heddle_runtime.wiring.bus.finder_of`.
    """
    from heddle_campaign.wiring import campaign_companion
    from heddle_core.settings import read_settings
    from heddle_runtime.wiring.bus import finder_of
    from heddle_spawn.settings import SpawnSettings
    from heddle_spawn.wiring import spawn_companion

    find = finder_of(settings) or find_nats
    spawn = read_settings(SpawnSettings, **_shared(settings))
    return spawn_companion(spawn, find), campaign_companion(campaign_settings_of(settings), find)


def campaign_settings_of(settings: "RuntimeSettings") -> "CampaignServiceSettings":
    """The campaign service beside a runtime: signals have as many copies in NATS as events, unless told otherwise.

    Raises CannotServe for variables of its own that do not fit.
    """
    from heddle_campaign.settings import CampaignServiceSettings
    from heddle_core.settings import read_settings

    own = read_settings(CampaignServiceSettings, **_shared(settings))
    if "signal_replicas" in own.model_fields_set:
        return own
    return own.model_copy(update={"signal_replicas": settings.bus.replicas})


def _shared(settings: "RuntimeSettings") -> dict[str, Any]:
    return {
        "data_dir": settings.data_dir,
        "database": settings.database,
        "database_prepared_statements": settings.postgres.prepared_statements,
    }
