"""Which pages of campaigns, cycles and memories can be asked for, and what is told of the past beside them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from heddle_campaign.rules.cycle_keys import CycleOrigin
from heddle_campaign.rules.cycles import Cycle
from heddle_campaign.rules.memories import MemoryKind
from heddle_campaign.rules.records import RangeRecord
from heddle_campaign.rules.schedule import Stretch
from heddle_campaign.rules.states import CampaignState, CycleState
from heddle_core.clock import Micros
from heddle_core.usage import MicroUsd


@dataclass(frozen=True, slots=True)
class ListCampaigns:
    """A page of a tenant's campaigns."""

    tenant: str
    size: int
    after: tuple[str, str] | None = None
    """The ordering value and the id of the last one of the page before."""
    order_by: str = "create_time"
    """`create_time`, `title` or `next_cycle_time`."""
    descending: bool = True
    states: tuple[CampaignState, ...] = ()
    agent_id: str = ""
    labels: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True)
class ListCycles:
    """A page of a campaign's cycles, by their scheduled time."""

    tenant: str
    campaign_id: str
    size: int
    after: tuple[Micros, str] | None = None
    descending: bool = True
    states: tuple[CycleState, ...] = ()
    origins: tuple[CycleOrigin, ...] = ()
    stretch: Stretch | None = None


@dataclass(frozen=True, slots=True)
class CyclePage:
    """Cycles, up to one more than were asked for, and the gaps that touch their stretch."""

    cycles: tuple[Cycle, ...]
    gaps: tuple[RangeRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class ListMemories:
    """A page of what a campaign has learned."""

    tenant: str
    campaign_id: str
    size: int
    after: tuple[str, str] | None = None
    order_by: str = "create_time"
    """`create_time`, `importance` or `last_use_time`."""
    descending: bool = True
    kinds: tuple[MemoryKind, ...] = ()
    pinned: bool | None = None
    platform: str = ""
    words: tuple[str, ...] = ()
    """Lower case; all must be in the text."""


@dataclass(frozen=True, slots=True)
class Past:
    """What a campaign's cycles did in a stretch up to now, for choosing whose turn it is."""

    worked_on: Mapping[str, int]
    """Cycles for each rotation key."""
    asked: Mapping[str, int]
    """Turns for each role."""
    spent: Mapping[str, MicroUsd]
    """Cost for each role since `spent_since`."""
    open_slices: tuple[MicroUsd, ...]
    """What each cycle at work may cost."""
