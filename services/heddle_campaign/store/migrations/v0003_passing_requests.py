"""The index over the age of requests holds those that are let go: what made a campaign is known for good."""

from alembic.operations import Operations

from heddle_database.columns import where

revision = "0003"
down_revision = "0002"


def upgrade(op: Operations) -> None:
    """Put the one index in the place of the other."""
    passing = where("method <> 'CreateCampaign'")
    op.create_index("campaign_requests_passing", "campaign_requests", ["create_time"], **passing)
    op.drop_index("campaign_requests_by_create_time", "campaign_requests")
