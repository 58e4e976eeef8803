"""An index over the age of requests, so that old ones are found and let go."""

from alembic.operations import Operations

revision = "0002"
down_revision = "0001"


def upgrade(op: Operations) -> None:
    """Create the index."""
    op.create_index("spawn_requests_by_create_time", "spawn_requests", ["create_time"])
