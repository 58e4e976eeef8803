"""An index over the age of requests that made no run and no thread, so that old ones are found and let go."""

from alembic.operations import Operations

from heddle_database.columns import where

revision = "0003"
down_revision = "0002"


def upgrade(op: Operations) -> None:
    """Create the index."""
    passing = where("run_id = '' AND method NOT IN ('CreateThread', 'ForkThread')")
    op.create_index("requests_passing", "requests", ["create_time"], **passing)
