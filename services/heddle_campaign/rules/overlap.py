"""What becomes of a due cycle while others are open: the overlap policies as one table of cases."""

from dataclasses import dataclass
from enum import Enum
from typing import assert_never

from heddle_campaign.rules.schedule import OverlapPolicy

MOST_WAITING = 1_000
"""Most cycles that wait for one campaign under BUFFER_ALL; what comes beyond is dropped."""


class Admission(Enum):
    """What a due cycle does."""

    BEGIN = "it begins"
    WAIT = "it waits behind the open ones"
    SKIP = "it is left out, because others are open"
    DROP = "it is given up, because too many wait"


@dataclass(frozen=True, slots=True)
class Load:
    """A campaign's open cycles."""

    running: int = 0
    waiting: int = 0
    """Due, and not begun."""
    capacity: int = 1
    """Most that may be at work at once."""

    @property
    def busy(self) -> bool:
        """Whether nothing more can begin."""
        return self.running + self.waiting >= self.capacity

    def after(self, policy: OverlapPolicy, admission: Admission) -> "Load":
        """The load once the cycle is admitted."""
        match admission:
            case Admission.BEGIN if policy is OverlapPolicy.CANCEL_OTHER:
                return Load(1, 0, self.capacity)
            case Admission.BEGIN:
                return Load(self.running + 1, self.waiting, self.capacity)
            case Admission.WAIT:
                return Load(self.running, self.waiting + 1, self.capacity)
            case Admission.SKIP | Admission.DROP:
                return self


def admit(policy: OverlapPolicy, load: Load) -> Admission:
    """What a cycle that is due now does beside the open ones."""
    if not load.busy:
        return Admission.BEGIN
    match policy:
        case OverlapPolicy.SKIP:
            return Admission.SKIP
        case OverlapPolicy.BUFFER_ONE:
            return Admission.SKIP if load.waiting else Admission.WAIT
        case OverlapPolicy.BUFFER_ALL:
            return Admission.WAIT if load.waiting < MOST_WAITING else Admission.DROP
        case OverlapPolicy.CANCEL_OTHER | OverlapPolicy.ALLOW_ALL:
            return Admission.BEGIN
        case _:
            assert_never(policy)
