"""Campaigns, their cycles and gaps, what they have learned, and the requests that changed them: the first tables."""

from alembic.operations import Operations
from sqlalchemy import PrimaryKeyConstraint
from sqlalchemy import text as text_of

from heddle_database.columns import integer, octets, text, where

revision = "0001"
down_revision = None


def upgrade(op: Operations) -> None:
    """Create the tables."""
    _create_campaigns(op)
    _create_cycles(op)
    _create_memories(op)
    op.create_table(
        "campaign_requests",
        *(text(name) for name in ("tenant", "principal", "method", "request_id", "target")),
        integer("create_time"),
        octets("fingerprint"),
        PrimaryKeyConstraint("tenant", "principal", "method", "request_id"),
    )
    # Who claims cycles locks the one row, so that two who count what is at work do not both fill the last place.
    op.create_table("cycle_claims", text("name"), PrimaryKeyConstraint("name"))
    op.execute("INSERT INTO cycle_claims (name) VALUES ('claim')")
    op.create_table("cycle_rates", text("tenant"), integer("full_at"), PrimaryKeyConstraint("tenant"))


def _create_campaigns(op: Operations) -> None:
    op.create_table(
        "campaigns",
        *(text(name) for name in ("tenant", "campaign_id", "title")),
        *(integer(name) for name in ("state", "next_due", "listed_due", "room", "create_time", "revision")),
        octets("body"),
        PrimaryKeyConstraint("tenant", "campaign_id"),
    )
    round_order = ["next_due", "tenant", "campaign_id", "state"]
    op.create_index("campaigns_due", "campaigns", round_order, **where("next_due > 0 AND state = 2"))
    op.create_index("campaigns_by_create_time", "campaigns", ["tenant", "create_time", "campaign_id"])
    op.create_index("campaigns_by_title", "campaigns", ["tenant", "title", "campaign_id"])
    op.create_index("campaigns_by_next_due", "campaigns", ["tenant", "listed_due", "campaign_id"])
    op.create_table(
        "campaign_agents",
        *(text(name) for name in ("tenant", "agent_id", "campaign_id")),
        PrimaryKeyConstraint("tenant", "campaign_id", "agent_id"),
    )
    op.create_table(
        "campaign_labels",
        *(text(name) for name in ("tenant", "campaign_id", "label", "content")),
        PrimaryKeyConstraint("tenant", "campaign_id", "label"),
    )
    op.create_table(
        "campaign_signal_kinds",
        *(text(name) for name in ("tenant", "kind", "campaign_id")),
        PrimaryKeyConstraint("tenant", "kind", "campaign_id"),
    )
    op.create_table(
        "signal_firings",
        *(text(name) for name in ("tenant", "campaign_id", "cycle_id", "trigger_key", "dedupe_key")),
        integer("fire_time"),
        PrimaryKeyConstraint("tenant", "campaign_id", "cycle_id"),
    )


def _create_cycles(op: Operations) -> None:
    op.create_table(
        "cycles",
        *(text(name) for name in ("tenant", "cycle_id", "campaign_id", "rotation_key", "owner")),
        *(integer(name) for name in ("scheduled_time", "origin", "state", "due", "priority", "budget", "look_at")),
        *(integer(name) for name in ("start_time", "end_time", "revision")),
        *(octets(name) for name in ("prepared", "body")),
        PrimaryKeyConstraint("tenant", "cycle_id"),
    )
    op.create_index("cycles_by_time", "cycles", ["tenant", "campaign_id", "scheduled_time", "cycle_id"])
    op.create_index("cycles_open", "cycles", ["tenant", "campaign_id", "state"], **where("state < 3"))
    op.create_index("cycles_waiting", "cycles", ["due"], **where("state = 1"))
    queue = ["tenant", text_of("priority DESC"), "due", "cycle_id"]
    op.create_index("cycles_queued", "cycles", queue, **where("state = 1"))
    op.create_index("cycles_at_work", "cycles", ["look_at"], **where("state = 2"))
    op.create_index("cycles_running", "cycles", ["tenant", "campaign_id"], **where("state = 2"))
    op.create_index("cycles_beside", "cycles", ["tenant", "campaign_id", "scheduled_time"], **where("origin >= 3"))
    op.create_index("cycles_started", "cycles", ["tenant", "campaign_id", "start_time"], **where("start_time > 0"))
    op.create_index("cycles_ended", "cycles", ["tenant", "campaign_id", "end_time"], **where("end_time > 0"))
    op.create_table(
        "cycle_turns",
        *(text(name) for name in ("tenant", "cycle_id", "campaign_id", "role", "thread_id")),
        *(integer(name) for name in ("place", "cost")),
        PrimaryKeyConstraint("tenant", "cycle_id", "place"),
    )
    op.create_index("cycle_turns_by_thread", "cycle_turns", ["tenant", "thread_id"], **where("thread_id <> ''"))
    op.create_index("cycle_turns_by_campaign", "cycle_turns", ["tenant", "campaign_id"])
    op.create_table(
        "cycle_gaps",
        *(text(name) for name in ("tenant", "campaign_id")),
        *(integer(name) for name in ("schedule_version", "start_time", "end_time", "outcome", "times")),
        PrimaryKeyConstraint("tenant", "campaign_id", "schedule_version", "start_time"),
    )


def _create_memories(op: Operations) -> None:
    op.create_table(
        "memories",
        *(text(name) for name in ("tenant", "memory_id", "campaign_id", "platform", "thread_id", "words")),
        *(integer(name) for name in ("kind", "pinned", "importance", "create_time", "last_use_time")),
        octets("body"),
        PrimaryKeyConstraint("tenant", "memory_id"),
    )
    op.create_index("memories_by_create_time", "memories", ["tenant", "campaign_id", "create_time", "memory_id"])
    op.create_index("memories_by_thread", "memories", ["tenant", "thread_id"], **where("thread_id <> ''"))
    op.create_table(
        "forgotten_memories",
        *(text(name) for name in ("tenant", "memory_id", "campaign_id")),
        integer("forget_time"),
        PrimaryKeyConstraint("tenant", "memory_id"),
    )
    op.create_index("forgotten_by_campaign", "forgotten_memories", ["tenant", "campaign_id"])
    op.create_table(
        "peer_messages",
        *(text(name) for name in ("tenant", "message_id", "campaign_id")),
        integer("send_time"),
        octets("body"),
        PrimaryKeyConstraint("tenant", "message_id"),
    )
    op.create_index("peer_messages_by_time", "peer_messages", ["tenant", "campaign_id", "send_time"])
