"""What a decision about a campaign is given, and what it answers.

Everything that is decided about a campaign goes through `CampaignStore.decide` and `settle`: they read it, ask a pure
function what to do, and write the answer, in one transaction at the database's own time. So no replica can act on what
another has changed, and nobody's clock but the database's says what is due (SEMANTICS 37).
"""

from collections.abc import Callable
from dataclasses import dataclass

from heddle_campaign.rules.campaigns import Campaign
from heddle_campaign.rules.cycles import Cycle
from heddle_campaign.rules.overlap import Load
from heddle_campaign.rules.records import RangeRecord
from heddle_campaign.rules.schedule import Stretch
from heddle_campaign.rules.triggers import TriggerHistory
from heddle_core.clock import Micros


@dataclass(frozen=True, slots=True)
class Standing:
    """A campaign at the moment of a decision."""

    campaign: Campaign
    load: Load
    now: Micros
    """The database's time."""
    moment: Micros
    """As `now`, or the microsecond after the last cycle beside the schedule: so that the key of a new one is free."""
    taken: frozenset[Micros] = frozenset()
    """Scheduled times of the asked stretch that have a cycle."""
    history: TriggerHistory = TriggerHistory({}, {})
    """Of its triggers, and of the asked dedupe key."""
    started: str = ""
    """Id of the cycle that the asked dedupe key has started. Empty: none."""


@dataclass(frozen=True, slots=True)
class Fired:
    """What a trigger did, for its cool-down and its dedupe key."""

    trigger_key: str
    dedupe_key: str
    cycle_id: str


@dataclass(frozen=True, slots=True)
class Change:
    """What a decision writes: the campaign as it is from now on, and what comes with it."""

    campaign: Campaign
    cycles: tuple[Cycle, ...] = ()
    """New ones, DUE or SKIPPED. One whose key is taken is left as it stands."""
    gaps: tuple[RangeRecord, ...] = ()
    cancel_open: bool = False
    """Whether the cycles that were open before are to be cancelled."""
    fired: Fired | None = None


Decision = Callable[[Standing], Change]
"""Pure and quick, as it runs inside the transaction. When it raises an error of ours, nothing is written."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a decision wants to know beside the campaign."""

    stretch: Stretch | None = None
    """Fills `Standing.taken`."""
    dedupe_key: str = ""
    """Fills `Standing.history`."""


NOTHING_ASKED = Asked()


@dataclass(frozen=True, slots=True)
class Decided:
    """What was written, or had been by the same request before."""

    campaign: Campaign
    cycles: tuple[Cycle, ...] = ()
    new: bool = True


@dataclass(frozen=True, slots=True)
class Settled:
    """What a round over due campaigns did."""

    campaigns: tuple[Campaign, ...]
    cycles: tuple[Cycle, ...]
    next_at: Micros | None
    """When the next campaign is due. None: none is."""
    now: Micros


@dataclass(frozen=True, slots=True)
class Taken:
    """Cycles that this worker may look at until its lease on them ends."""

    cycles: tuple[Cycle, ...]
    next_at: Micros | None
    """When another may be looked at. None: none is open."""
    now: Micros
