"""What triggers did, as rows: for their cool-downs, and so that a dedupe key starts one cycle."""

from heddle_campaign.facade.ports.decisions import Fired
from heddle_campaign.rules.triggers import DEDUPE_FOR, TriggerHistory
from heddle_core.clock import Micros, micros
from heddle_database.port import Transaction


def history_of(tx: Transaction, tenant: str, campaign_id: str, dedupe_key: str) -> TriggerHistory:
    """When each trigger of a campaign last fired, and when something was started for a dedupe key; empty: for none."""
    rows = tx.rows(
        "SELECT trigger_key, MAX(fire_time) FROM signal_firings WHERE tenant = :tenant AND campaign_id = :campaign"
        " GROUP BY trigger_key",
        tenant=tenant,
        campaign=campaign_id,
    )
    same = tx.row(
        "SELECT MAX(fire_time) FROM signal_firings WHERE tenant = :tenant AND campaign_id = :campaign"
        " AND dedupe_key = :dedupe_key AND dedupe_key <> ''",
        tenant=tenant,
        campaign=campaign_id,
        dedupe_key=dedupe_key,
    )
    keys = {dedupe_key: Micros(same[0])} if same and same[0] is not None else {}
    return TriggerHistory({row[0]: Micros(row[1]) for row in rows}, keys)


def started_by(tx: Transaction, tenant: str, campaign_id: str, dedupe_key: str) -> str:
    """The cycle that was started last for a dedupe key; empty: none was, or the key is empty."""
    row = tx.row(
        "SELECT cycle_id FROM signal_firings WHERE tenant = :tenant AND campaign_id = :campaign"
        " AND dedupe_key = :dedupe_key AND dedupe_key <> '' ORDER BY fire_time DESC LIMIT 1",
        tenant=tenant,
        campaign=campaign_id,
        dedupe_key=dedupe_key,
    )
    return row[0] if row else ""


def insert_firing(tx: Transaction, tenant: str, campaign_id: str, fired: Fired) -> None:
    """Write down that a trigger fired now, and let go of what no longer matters.

    What is older than dedupe keys live goes, but for each trigger's last: its cool-down may be longer.
    """
    own: dict[str, object] = {"tenant": tenant, "campaign": campaign_id}
    tx.run(
        "INSERT INTO signal_firings (tenant, campaign_id, cycle_id, trigger_key, dedupe_key, fire_time)"
        " VALUES (:tenant, :campaign, :cycle, :trigger, :dedupe_key, :now) ON CONFLICT DO NOTHING",
        **own,
        cycle=fired.cycle_id,
        trigger=fired.trigger_key,
        dedupe_key=fired.dedupe_key,
        now=tx.now,
    )
    tx.run(
        "DELETE FROM signal_firings WHERE tenant = :tenant AND campaign_id = :campaign AND fire_time < :until"
        " AND fire_time < (SELECT MAX(later.fire_time) FROM signal_firings later WHERE later.tenant = :tenant"
        " AND later.campaign_id = :campaign AND later.trigger_key = signal_firings.trigger_key)",
        **own,
        until=tx.now - micros(DEDUPE_FOR),
    )


def delete_firing(tx: Transaction, tenant: str, campaign_id: str, cycle_id: str) -> None:
    """Have nothing on record for a cycle that a guard left out: it was no cycle for its signal."""
    tx.run(
        "DELETE FROM signal_firings WHERE tenant = :tenant AND campaign_id = :campaign AND cycle_id = :cycle",
        tenant=tenant,
        campaign=campaign_id,
        cycle=cycle_id,
    )
