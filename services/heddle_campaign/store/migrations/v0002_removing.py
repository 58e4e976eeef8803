"""What is removed by itself is found by an index: old requests, and messages from a thread that is gone."""

from alembic.operations import Operations

from heddle_database.columns import text, where

revision = "0002"
down_revision = "0001"


def upgrade(op: Operations) -> None:
    """Add the indexes, and to each message the thread in which it was said; empty: not known."""
    op.create_index("campaign_requests_by_create_time", "campaign_requests", ["create_time"])
    op.add_column("peer_messages", text("thread_id"))
    op.create_index("peer_messages_by_thread", "peer_messages", ["tenant", "thread_id"], **where("thread_id <> ''"))
