"""What became of scheduled times: a record for each or for a stretch, and counters that add up. Values only."""

from dataclasses import dataclass, replace
from enum import Enum

from heddle_campaign.rules.cycle_keys import CycleKey, CycleOrigin
from heddle_campaign.rules.overlap import Admission
from heddle_core.clock import Micros


class Outcome(Enum):
    """What became of a scheduled time; the value is the counter that counts it."""

    FIRED = "fired"
    SKIPPED = "skipped"
    MISSED = "missed"
    PAUSED = "paused"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True)
class Counters:
    """How many scheduled times ended how. Their sum is `scheduled`: nothing else counts them."""

    fired: int = 0
    skipped: int = 0
    missed: int = 0
    paused: int = 0
    dropped: int = 0
    unscheduled: int = 0
    """Cycles by hand, backfill or signal: not among the scheduled."""

    @property
    def scheduled(self) -> int:
        """Times that are accounted for."""
        return self.fired + self.skipped + self.missed + self.paused + self.dropped

    def plus(self, outcome: Outcome, times: int = 1) -> "Counters":
        """The counters with some more of one outcome."""
        return replace(self, **{outcome.value: getattr(self, outcome.value) + times})

    def given_up(self, outcome: Outcome = Outcome.DROPPED, origin: CycleOrigin = CycleOrigin.SCHEDULE) -> "Counters":
        """The counters after a cycle did not begin after all: cancelled while it waited, or left out by a guard.

        A scheduled time stays one time: what it gains as `outcome` it loses as fired. A cycle beside the schedule is
        none.
        """
        return self._taken_up(-1, outcome, origin)

    def taken_up(self, outcome: Outcome = Outcome.DROPPED, origin: CycleOrigin = CycleOrigin.SCHEDULE) -> "Counters":
        """The counters once a cycle that was given up is to begin after all."""
        return self._taken_up(1, outcome, origin)

    def _taken_up(self, cycles: int, outcome: Outcome, origin: CycleOrigin) -> "Counters":
        if origin is not CycleOrigin.SCHEDULE:
            return replace(self, unscheduled=self.unscheduled + cycles)
        return self.plus(Outcome.FIRED, cycles).plus(outcome, -cycles)


NONE = Counters()


@dataclass(frozen=True, slots=True)
class SlotRecord:
    """What became of one scheduled time: FIRED, SKIPPED or DROPPED."""

    key: CycleKey
    outcome: Outcome
    admission: Admission
    """Of a fired one: whether it begins or waits."""
    due: Micros
    """When it was due: the scheduled time and its jitter."""


@dataclass(frozen=True, slots=True)
class RangeRecord:
    """What became of all scheduled times of a stretch, end excluded: MISSED, PAUSED or DROPPED."""

    outcome: Outcome
    schedule_version: int
    start: Micros
    end: Micros
    count: int


Record = SlotRecord | RangeRecord
