"""Children, groups and the requests that made them: the spawn service's first tables."""

from typing import Any

from alembic.operations import Operations
from sqlalchemy import BigInteger, Column, LargeBinary, PrimaryKeyConstraint, Text, text

revision = "0001"
down_revision = None


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False, server_default="")


def _integer(name: str) -> Column[int]:
    return Column(name, BigInteger, nullable=False, server_default="0")


def _bytes(name: str) -> Column[bytes]:
    return Column(name, LargeBinary, nullable=True)


def upgrade(op: Operations) -> None:
    """Create the tables."""
    op.create_table(
        "spawns",
        *(_text(name) for name in ("tenant", "spawn_id", "family", "spawn_key", "group_id", "agent_id", "token")),
        *(_text(name) for name in ("parent_run_id", "parent_thread_id", "root_run_id", "run_id", "thread_id")),
        *(_text(name) for name in ("allowed_tools", "granted")),
        *(_integer(name) for name in ("state", "stop", "told", "stage", "place", "depth", "seen_sequence")),
        *(_integer(name) for name in ("due", "tries", "revision", "create_time", "end_time", "deadline_at")),
        *(_bytes(name) for name in ("fingerprint", "turn", "body")),
        PrimaryKeyConstraint("tenant", "spawn_id"),
    )
    op.create_index("spawns_by_key", "spawns", ["tenant", "family", "spawn_key"], unique=True)
    op.create_index("spawns_by_group", "spawns", ["tenant", "group_id", "stage", "place"], **_where("group_id <> ''"))
    op.create_index("spawns_by_parent", "spawns", ["tenant", "parent_run_id"], **_where("parent_run_id <> ''"))
    op.create_index("spawns_by_root", "spawns", ["tenant", "root_run_id", "depth"])
    op.create_index("spawns_by_thread", "spawns", ["tenant", "thread_id"], **_where("thread_id <> ''"))
    op.create_index(
        "spawns_by_parent_thread", "spawns", ["tenant", "parent_thread_id"], **_where("parent_thread_id <> ''")
    )
    op.create_index("spawns_by_create_time", "spawns", ["tenant", "create_time"])
    op.create_index("spawns_by_end_time", "spawns", ["tenant", "end_time"])
    op.create_index("spawns_due", "spawns", ["due"], **_where("due > 0"))
    op.create_table(
        "spawn_groups",
        *(_text(name) for name in ("tenant", "group_id", "family", "group_key", "token", "principal", "acted_by")),
        *(_text(name) for name in ("parent_run_id", "parent_thread_id", "root_run_id", "input_id", "progress")),
        *(_integer(name) for name in ("state", "stop", "told", "current_stage", "depth")),
        *(_integer(name) for name in ("due", "tries", "revision", "create_time", "end_time", "deadline_at")),
        *(_bytes(name) for name in ("fingerprint", "spec")),
        PrimaryKeyConstraint("tenant", "group_id"),
    )
    op.create_index("spawn_groups_by_key", "spawn_groups", ["tenant", "family", "group_key"], unique=True)
    op.create_index("spawn_groups_by_root", "spawn_groups", ["tenant", "root_run_id", "create_time"])
    op.create_index("spawn_groups_due", "spawn_groups", ["due"], **_where("due > 0"))
    op.create_table(
        "spawn_requests",
        *(_text(name) for name in ("tenant", "principal", "method", "request_id", "target")),
        _integer("create_time"),
        _bytes("fingerprint"),
        PrimaryKeyConstraint("tenant", "principal", "method", "request_id"),
    )


def _where(condition: str) -> dict[str, Any]:
    """A partial index, in the words of both engines."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}
