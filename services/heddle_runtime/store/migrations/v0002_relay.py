"""What the relay keeps: who publishes which shard, which stream it published to, and the log's epoch."""

from typing import Any

from alembic.operations import Operations
from sqlalchemy import BigInteger, Column, PrimaryKeyConstraint, Text, text

revision = "0002"
down_revision = "0001"


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False, server_default="")


def _integer(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default="0")


def upgrade(op: Operations) -> None:
    """Create the tables. Rows come when they are first needed."""
    op.create_table("relay_shards", _integer("shard"), _text("owner"), _integer("fence"), PrimaryKeyConstraint("shard"))
    op.create_table("relay_workers", _text("worker_id"), PrimaryKeyConstraint("worker_id"))
    op.create_table(
        "relay_stream",
        *(_integer(name) for name in ("number", "created", "sequence")),
        _text("message_id"),
        PrimaryKeyConstraint("number"),
    )
    op.create_table("log_epoch", _integer("number"), _integer("epoch"), PrimaryKeyConstraint("number"))
    op.create_index(
        "threads_unpublished", "threads", ["tenant", "thread_id"], **_where("published_sequence < last_sequence")
    )


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}
