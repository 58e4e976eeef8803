"""Three campaign services on one PostgreSQL, clocks apart, killed again and again: one fire per scheduled time."""

from pathlib import Path

import pytest

from tests.faults.campaigns.plan import Options
from tests.faults.campaigns.results import judge, table
from tests.faults.campaigns.sitting import sit


@pytest.mark.slow
async def test_each_scheduled_time_is_fired_once_by_replicas_that_are_killed(tmp_path: Path) -> None:
    """The small form of `python -m tests.faults.campaigns`: a time each for some campaigns, pauses and backfills."""
    small = Options(campaigns=50, minutes=0.15, seed=15, kill_every=2.5, past=8, sweep_every=1.0, settle_within=30.0)
    found = judge(await sit(tmp_path, small))
    assert found.outcome == "passed", table(found)
    # All 50, unless the machine is too slow to make each campaign before its time.
    assert found.counts["scheduled times"] > 25
    assert found.counts["cycles by backfill"] > 5
