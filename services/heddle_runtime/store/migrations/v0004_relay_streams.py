"""Which stream each relay has in front of it: so a stream that was lost is told from another server that is in use."""

from alembic.operations import Operations

from heddle_database.columns import integer

revision = "0004"
down_revision = "0003"


def upgrade(op: Operations) -> None:
    """Add the column. Zero: a relay of an older version, which does not tell."""
    op.add_column("relay_workers", integer("stream"))
