"""Threads, their events, runs, inputs and requests: the runtime's first tables."""

from alembic.operations import Operations
from sqlalchemy import PrimaryKeyConstraint

from heddle_database.columns import integer, octets, text, where

revision = "0001"
down_revision = None

MARKS = "14, 15, 16, 17, 18, 21, 22, 24, 25, 29"
"""Kinds of events that are looked up by kind: forks, redactions, messages, and where runs begin and end."""


def upgrade(op: Operations) -> None:
    """Create the tables."""
    op.create_table(
        "threads",
        *(text(name) for name in ("tenant", "thread_id", "title", "labels", "agent_id", "model")),
        *(text(name) for name in ("instructions", "context_json", "lane_run_id", "forked_from_thread_id")),
        *(integer(name) for name in ("pinned", "status", "revision", "context_version", "title_is_manual")),
        *(integer(name) for name in ("last_sequence", "published_sequence", "first_sequence")),
        *(integer(name) for name in ("create_time", "update_time")),
        octets("head_hash"),
        PrimaryKeyConstraint("tenant", "thread_id"),
    )
    op.create_index("threads_by_update", "threads", ["tenant", "status", "update_time"])
    op.create_table(
        "events",
        *(text(name) for name in ("tenant", "thread_id", "run_id")),
        *(integer(name) for name in ("sequence", "kind", "commit_time", "redacted")),
        *(octets(name) for name in ("payload", "digest", "hash")),
        PrimaryKeyConstraint("tenant", "thread_id", "sequence"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "events_marks", "events", ["tenant", "thread_id", "kind", "sequence", "run_id"], **where(f"kind IN ({MARKS})")
    )
    op.create_table(
        "runs",
        *(text(name) for name in ("tenant", "run_id", "thread_id", "request_id", "principal", "acted_by")),
        *(text(name) for name in ("agent_id", "model", "trigger_reference", "labels", "limits", "owner")),
        *(text(name) for name in ("root_run_id", "parent_run_id", "retry_of_run_id", "superseded_by_run_id")),
        *(text(name) for name in ("failure_message", "tools_digest")),
        *(integer(name) for name in ("state", "agent_version", "mode", "trigger_kind", "cascade", "depth")),
        *(integer(name) for name in ("attempt", "fence", "append_number", "queue_rank", "request_sequence")),
        *(integer(name) for name in ("input_tokens", "output_tokens", "cached_input_tokens", "reasoning_tokens")),
        *(integer(name) for name in ("model_calls", "tool_calls", "cost", "reserved_tokens", "reserved_cost")),
        *(integer(name) for name in ("granted_tokens", "granted_cost")),
        *(integer(name) for name in ("failure_reason", "cancel_cause", "cancel_sequence", "cancel_time")),
        *(integer(name) for name in ("create_time", "start_time", "end_time", "not_before")),
        octets("result"),
        PrimaryKeyConstraint("tenant", "run_id"),
    )
    op.create_index("runs_by_thread", "runs", ["tenant", "thread_id", "queue_rank"])
    op.create_index("runs_by_parent", "runs", ["tenant", "parent_run_id"], **where("parent_run_id <> ''"))
    op.create_index("runs_by_create_time", "runs", ["tenant", "create_time"])
    op.create_index("runs_by_end_time", "runs", ["tenant", "end_time"], **where("end_time > 0"))
    op.create_index("runs_queued", "runs", ["create_time", "queue_rank"], **where("state = 1"))
    op.create_index("runs_owned", "runs", ["owner"], **where("state = 2"))
    op.create_index("runs_one_active", "runs", ["tenant", "thread_id"], unique=True, **where("state IN (2, 3)"))
    op.create_table(
        "requests",
        *(text(name) for name in ("tenant", "principal", "method", "request_id", "run_id", "thread_id")),
        *(integer(name) for name in ("create_time", "cancelled")),
        *(octets(name) for name in ("fingerprint", "response")),
        PrimaryKeyConstraint("tenant", "principal", "method", "request_id"),
    )
    op.create_index("requests_by_create_time", "requests", ["create_time"])
    op.create_index("requests_by_thread", "requests", ["tenant", "thread_id"], **where("thread_id <> ''"))
    op.create_table(
        "inputs",
        *(text(name) for name in ("tenant", "input_id", "thread_id", "run_id", "winner")),
        *(integer(name) for name in ("kind", "state", "expire_time", "create_time", "resolve_time")),
        *(octets(name) for name in ("body", "answer_fingerprint")),
        PrimaryKeyConstraint("tenant", "input_id"),
    )
    op.create_index("inputs_by_run", "inputs", ["tenant", "run_id", "state"])
    op.create_index("inputs_by_create_time", "inputs", ["tenant", "state", "create_time"])
    op.create_index("inputs_by_thread", "inputs", ["tenant", "thread_id"])
    op.create_index("inputs_open", "inputs", ["expire_time"], **where("state = 2"))
    op.create_table(
        "workers",
        *(text(name) for name in ("worker_id", "address")),
        *(integer(name) for name in ("lease_until", "start_time", "fold_version")),
        PrimaryKeyConstraint("worker_id"),
    )
    op.create_table(
        "snapshots",
        *(text(name) for name in ("tenant", "thread_id")),
        *(integer(name) for name in ("sequence", "fold_version")),
        *(octets(name) for name in ("hash", "body")),
        PrimaryKeyConstraint("tenant", "thread_id", "sequence"),
    )
    op.create_table(
        "tombstones",
        *(text(name) for name in ("tenant", "thread_id")),
        *(integer(name) for name in ("last_sequence", "delete_time", "purged", "published")),
        octets("last_hash"),
        PrimaryKeyConstraint("tenant", "thread_id"),
    )
    op.create_index("tombstones_open", "tombstones", ["delete_time"], **where("purged = 0 OR published = 0"))
    op.create_table(
        "agents",
        *(text(name) for name in ("tenant", "agent_id")),
        *(integer(name) for name in ("version", "archived", "revision", "create_time")),
        octets("spec"),
        PrimaryKeyConstraint("tenant", "agent_id", "version"),
    )
    op.create_table(
        "tool_providers",
        *(text(name) for name in ("tenant", "provider_id")),
        *(integer(name) for name in ("revision", "create_time")),
        octets("body"),
        PrimaryKeyConstraint("tenant", "provider_id"),
    )
    op.create_table("secrets", text("name"), octets("value"), PrimaryKeyConstraint("name"))
