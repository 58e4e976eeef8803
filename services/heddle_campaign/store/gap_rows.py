"""Gaps as rows: stretches whose scheduled times have no cycle, one row however long they are."""

from collections.abc import Sequence

from heddle_campaign.rules.records import Outcome, RangeRecord
from heddle_core.clock import Micros
from heddle_database.port import Row, Transaction

COLUMNS = "outcome, schedule_version, start_time, end_time, times"

_OUTCOMES = {Outcome.MISSED: 1, Outcome.PAUSED: 2, Outcome.DROPPED: 3}
_BY_NUMBER = {number: outcome for outcome, number in _OUTCOMES.items()}


def gap_value(row: Row) -> RangeRecord:
    """A gap from its row, with the columns of `COLUMNS`."""
    return RangeRecord(_BY_NUMBER[row[0]], row[1], Micros(row[2]), Micros(row[3]), row[4])


def insert_gaps(tx: Transaction, tenant: str, campaign_id: str, gaps: Sequence[RangeRecord]) -> None:
    """Write new gaps. Those of one version do not overlap, as a schedule's cursor only moves forward."""
    tx.many(
        "INSERT INTO cycle_gaps (tenant, campaign_id, schedule_version, start_time, end_time, outcome, times)"
        " VALUES (:tenant, :campaign, :version, :start, :end, :outcome, :times) ON CONFLICT DO NOTHING",
        [
            {
                "tenant": tenant,
                "campaign": campaign_id,
                "version": each.schedule_version,
                "start": each.start,
                "end": each.end,
                "outcome": _OUTCOMES[each.outcome],
                "times": each.count,
            }
            for each in gaps
        ],
    )
