"""Campaigns as rows: the columns that are looked at in SQL, and a body for the rest."""

from dataclasses import replace

from heddle_campaign.rules.campaigns import Campaign, CampaignSettings
from heddle_campaign.rules.schedule import OverlapPolicy
from heddle_campaign.rules.signals import kind_of
from heddle_campaign.store.bodies import campaign_body, campaign_of
from heddle_core.clock import Micros
from heddle_database.port import Row, Transaction

COLUMNS = "tenant, campaign_id, body, next_due"

NEVER = 2**63 - 1
"""Where a campaign without a next time stands in a list by next times."""
UNBOUNDED = 1_000_000
"""Cycles at work at once of a campaign whose cycles begin beside, or instead of, those at work."""

_OWN = (
    "campaigns",
    "campaign_agents",
    "campaign_labels",
    "campaign_signal_kinds",
    "signal_firings",
    "cycles",
    "cycle_turns",
    "cycle_gaps",
    "memories",
    "forgotten_memories",
    "peer_messages",
)
"""Tables whose rows go with their campaign."""


def campaign_value(row: Row) -> Campaign:
    """A campaign from its row, with the columns of `COLUMNS`."""
    return replace(campaign_of(row[2]), next_due=Micros(row[3]) if row[3] else None)


def find_campaign(tx: Transaction, tenant: str, campaign_id: str, *, locked: bool = False) -> Campaign | None:
    """A campaign by its id; `locked`: nobody else changes it, or a cycle of it, before the commit."""
    row = tx.row(
        f"SELECT {COLUMNS} FROM campaigns WHERE tenant = :tenant AND campaign_id = :campaign"
        f"{tx.row_lock if locked else ''}",
        tenant=tenant,
        campaign=campaign_id,
    )
    return campaign_value(row) if row else None


def lock_campaign(tx: Transaction, tenant: str, campaign_id: str) -> bool:
    """Lock a campaign without reading it; whether it is there. Whatever writes its cycles does so first."""
    row = tx.row(
        f"SELECT 1 FROM campaigns WHERE tenant = :tenant AND campaign_id = :campaign{tx.row_lock}",
        tenant=tenant,
        campaign=campaign_id,
    )
    return row is not None


def insert_campaign(tx: Transaction, campaign: Campaign) -> None:
    """Write a new campaign."""
    given = {
        **_mutable(campaign),
        "tenant": campaign.tenant,
        "campaign": campaign.campaign_id,
        "create_time": campaign.create_time,
    }
    tx.run(
        "INSERT INTO campaigns (tenant, campaign_id, create_time, title, state, next_due, listed_due, room, revision,"
        " body) VALUES (:tenant, :campaign, :create_time, :title, :state, :next_due, :listed_due, :room, :revision,"
        " :body)",
        **given,
    )
    _insert_filters(tx, campaign.tenant, campaign.campaign_id, campaign.settings)


def update_campaigns(tx: Transaction, *written: tuple[Campaign, Campaign]) -> None:
    """Write campaigns that are locked: pairs of how each was and is."""
    tx.many(
        "UPDATE campaigns SET title = :title, state = :state, next_due = :next_due, listed_due = :listed_due,"
        " room = :room, revision = :revision, body = :body WHERE tenant = :tenant AND campaign_id = :campaign",
        [{**_mutable(new), "tenant": new.tenant, "campaign": new.campaign_id} for _, new in written],
    )
    for old, new in written:
        if old.settings != new.settings:
            _delete_filters(tx, new.tenant, new.campaign_id)
            _insert_filters(tx, new.tenant, new.campaign_id, new.settings)


def put_off(tx: Transaction, tenant: str, campaign_id: str, until: Micros) -> None:
    """Have a campaign's schedule asked later."""
    tx.run(
        "UPDATE campaigns SET next_due = :until, listed_due = :until WHERE tenant = :tenant"
        " AND campaign_id = :campaign",
        until=until,
        tenant=tenant,
        campaign=campaign_id,
    )


def delete_campaign(tx: Transaction, tenant: str, campaign_id: str) -> None:
    """Remove a campaign with all that is its own."""
    for table in _OWN:
        tx.run(
            f"DELETE FROM {table} WHERE tenant = :tenant AND campaign_id = :campaign",
            tenant=tenant,
            campaign=campaign_id,
        )


def _mutable(campaign: Campaign) -> dict[str, object]:
    return {
        "title": campaign.settings.title,
        "state": int(campaign.state),
        "next_due": campaign.next_due or 0,
        "listed_due": NEVER if campaign.next_due is None else campaign.next_due,
        "room": _room(campaign.settings),
        "revision": campaign.revision,
        "body": campaign_body(campaign),
    }


def _room(settings: CampaignSettings) -> int:
    """How many of its cycles may be at work at once."""
    overlap = None if settings.schedule is None else settings.schedule.overlap
    beside = overlap in (OverlapPolicy.ALLOW_ALL, OverlapPolicy.CANCEL_OTHER)
    return UNBOUNDED if beside else settings.max_concurrent_cycles


def _insert_filters(tx: Transaction, tenant: str, campaign_id: str, settings: CampaignSettings) -> None:
    """What campaigns are found by beside their own row."""
    own = {"tenant": tenant, "campaign": campaign_id}
    tx.many(
        "INSERT INTO campaign_agents (tenant, campaign_id, agent_id) VALUES (:tenant, :campaign, :agent)",
        [{**own, "agent": each} for each in sorted({agent.agent_id for agent in settings.agents})],
    )
    tx.many(
        "INSERT INTO campaign_labels (tenant, campaign_id, label, content)"
        " VALUES (:tenant, :campaign, :label, :content)",
        [{**own, "label": label, "content": content} for label, content in settings.labels.items()],
    )
    tx.many(
        "INSERT INTO campaign_signal_kinds (tenant, campaign_id, kind) VALUES (:tenant, :campaign, :kind)",
        [{**own, "kind": each} for each in sorted({kind_of(trigger.rule) for trigger in settings.triggers})],
    )


def _delete_filters(tx: Transaction, tenant: str, campaign_id: str) -> None:
    for table in ("campaign_agents", "campaign_labels", "campaign_signal_kinds"):
        tx.run(
            f"DELETE FROM {table} WHERE tenant = :tenant AND campaign_id = :campaign",
            tenant=tenant,
            campaign=campaign_id,
        )
