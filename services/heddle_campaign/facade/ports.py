"""What the campaign service needs of others: stable storage, and the runtime in somebody's name.

Everything that is decided about a campaign goes through `CampaignStore.decide` and `settle`: they read it, ask a pure
function what to do, and write the answer, in one transaction at the database's own time. So no replica can act on what
another has changed, and nobody's clock but the database's says what is due (SEMANTICS 37).
"""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from heddle_campaign.rules.campaigns import Campaign
from heddle_campaign.rules.cycle_keys import CycleOrigin
from heddle_campaign.rules.cycles import Cycle
from heddle_campaign.rules.learned import Learned, PeerMessage
from heddle_campaign.rules.memories import MemoryKind
from heddle_campaign.rules.overlap import Load
from heddle_campaign.rules.queue import Bounds
from heddle_campaign.rules.records import RangeRecord
from heddle_campaign.rules.schedule import Stretch
from heddle_campaign.rules.states import CampaignState, CycleState
from heddle_campaign.rules.triggers import TriggerHistory
from heddle_client.values import FactPage, Forecast, NewTurn, RunView
from heddle_core.clock import Micros
from heddle_core.requests import Creator, RequestKey
from heddle_core.usage import MicroUsd

# --- the runtime ---------------------------------------------------------------------------------------------


class Runs(Protocol):
    """The runtime in one principal's name; `heddle_client.runs.Runs` fulfils it."""

    async def start(self, prepared: bytes) -> RunView:
        """Start a turn that was prepared; a repeat gives the same run."""
        ...

    async def forecast(self, turn: NewTurn) -> Forecast:
        """What a turn would run. Raises AgentNotFound, ModelNotFound, InvalidField."""
        ...

    async def cancel(self, run_id: str, *, request_id: str, note: str = "") -> None:
        """Stop a run and its cascading children."""
        ...

    async def cancel_start(self, turn_request_id: str, *, request_id: str, note: str = "") -> RunView | None:
        """Stop the run of a turn's request; None: it never will start one."""
        ...

    async def get(self, run_id: str) -> RunView:
        """A run. Raises RunNotFound."""
        ...

    async def facts(self, thread_id: str, *, run_id: str, after: int, most: int = 500) -> FactPage:
        """Events of a run after a cursor. Raises ThreadNotFound."""
        ...

    def heads(self, thread_id: str, *, after: int) -> AsyncGenerator[int, None]:
        """Sequences of a thread's newest facts, as they are written."""
        ...


RunsOf = Callable[[Creator], Runs]
"""The runtime in the name of a campaign's creator."""

Prepare = Callable[[NewTurn], bytes]
"""Brings a turn into the form in which it is kept until it is sent, and sent again."""

# --- decisions -----------------------------------------------------------------------------------------------


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


# --- reading -------------------------------------------------------------------------------------------------


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


# --- storage -------------------------------------------------------------------------------------------------


class CampaignStore(Protocol):
    """Campaigns, cycles and their gaps on stable storage. Raises StoreUnavailable when it is in trouble."""

    async def create(self, key: RequestKey, campaign: Campaign) -> Decided:
        """Write a new campaign, or find the one that this request made. Raises RequestIdReused."""
        ...

    async def decide(
        self,
        tenant: str,
        campaign_id: str,
        decision: Decision,
        *,
        key: RequestKey | None = None,
        asked: Asked = NOTHING_ASKED,
    ) -> Decided:
        """Do what a decision says, once a request; a repeat finds the campaign and the cycles that it made then.

        Raises:
            CampaignNotFound, RequestIdReused, and what the decision raises.
        """
        ...

    async def target_of(self, key: RequestKey) -> str | None:
        """What was kept of a request by `remember`. Raises RequestIdReused."""
        ...

    async def remember(self, key: RequestKey, target: str) -> None:
        """Keep what came of a request that may change several campaigns. Raises RequestIdReused."""
        ...

    async def settle(self, decision: Decision, most: int, again: timedelta) -> Settled:
        """Decide on the ACTIVE campaigns that are due, oldest first, each by itself.

        Those that another replica is settling are left to it. One whose decision fails is due again after `again`.
        """
        ...

    async def delete(self, key: RequestKey, campaign_id: str, *, etag: str) -> None:
        """Remove a campaign that is not ACTIVE and has no cycle at work, with all that is its own, once a request.

        Raises:
            CampaignNotFound, EtagMismatch, IllegalTransition, RequestIdReused.
        """
        ...

    async def campaign(self, tenant: str, campaign_id: str) -> Campaign | None:
        """A campaign by its id."""
        ...

    async def now(self) -> Micros:
        """The database's time."""
        ...

    async def campaigns(self, command: ListCampaigns) -> tuple[Campaign, ...]:
        """A page, up to one more than were asked for."""
        ...

    async def answering(self, tenant: str, kind: str, campaign_id: str = "") -> tuple[Campaign, ...]:
        """Campaigns with a trigger for signals of a kind, whatever their state; only the named one, if one is."""
        ...

    async def claim(self, worker: str, most: int, bounds: Bounds, lease: timedelta) -> Taken:
        """Make DUE cycles RUNNING and ours, by `rules.queue.choose` over all tenants."""
        ...

    async def take(self, worker: str, most: int, lease: timedelta) -> Taken:
        """Open cycles that it is time to look at, oldest first: ours from now on, whoever had them before."""
        ...

    async def save(self, old: Cycle, new: Cycle, then: Decision | None = None) -> Cycle | None:
        """Write `new` if `old` still stands, and what its end means for the campaign; None: somebody was faster."""
        ...

    async def request_stop(self, tenant: str, cycle_id: str, note: str, *, key: RequestKey | None = None) -> Cycle:
        """Have an open cycle cancelled; one that is only DUE is CANCELLED at once. Raises CycleNotFound."""
        ...

    async def retry(self, key: RequestKey, cycle_id: str) -> Cycle:
        """Queue a FAILED or CANCELLED cycle again, once a request; its turns that are not COMPLETED begin anew.

        Raises:
            CycleNotFound, IllegalTransition, RequestIdReused.
        """
        ...

    async def cycle(self, tenant: str, cycle_id: str) -> Cycle | None:
        """A cycle by its id."""
        ...

    async def of_thread(self, tenant: str, thread_id: str) -> tuple[Cycle, ...]:
        """Open cycles with a turn in this thread."""
        ...

    async def cycles(self, command: ListCycles) -> CyclePage:
        """A page of cycles."""
        ...

    async def open_cycles(self, tenant: str, campaign_id: str) -> tuple[Cycle, ...]:
        """Those that are DUE or RUNNING, oldest first."""
        ...

    async def recent_cycles(self, tenant: str, campaign_id: str, most: int) -> tuple[Cycle, ...]:
        """Those that ended last, newest first."""
        ...

    async def past(self, tenant: str, campaign_id: str, *, since: Micros, spent_since: Micros) -> Past:
        """What the campaign's cycles did."""
        ...


class MemoryStore(Protocol):
    """What campaigns have learned, and what their agents told each other."""

    async def learn(self, memories: Sequence[Learned]) -> None:
        """Write memories; one whose id is taken is left as it stands, also when it was forgotten."""
        ...

    async def known(self, tenant: str, campaign_id: str, most: int = 1_000) -> tuple[Learned, ...]:
        """What a campaign knows, pinned ones and the newest first."""
        ...

    async def every(self, after: tuple[str, str], most: int) -> tuple[Learned, ...]:
        """Memories of all tenants behind a place, by tenant and id; `("", "")` is before the first."""
        ...

    async def memory(self, tenant: str, memory_id: str) -> Learned | None:
        """A memory by its id."""
        ...

    async def memories(self, command: ListMemories) -> tuple[Learned, ...]:
        """A page, up to one more than were asked for."""
        ...

    async def pin(self, key: RequestKey, memory_id: str, pinned: bool) -> Learned:
        """Pin a memory, or no longer. Raises MemoryNotFound, RequestIdReused."""
        ...

    async def forget(self, key: RequestKey, memory_id: str) -> None:
        """Erase a memory for good; a repeat of the request changes nothing. Raises MemoryNotFound, RequestIdReused."""
        ...

    async def forget_thread(self, tenant: str, thread_id: str) -> int:
        """Erase what was learned from a thread that was deleted; how many memories that were."""
        ...

    async def fade(self, tenant: str, memory_ids: Sequence[str]) -> None:
        """Erase memories that are worth nothing any more."""
        ...

    async def note_use(self, tenant: str, memory_ids: Sequence[str]) -> None:
        """Write down that memories were given to a turn now."""
        ...

    async def tell(self, message: PeerMessage) -> None:
        """Keep a message between agents; one whose id is taken is left as it stands."""
        ...

    async def messages(self, tenant: str, campaign_id: str, *, since: Micros, most: int) -> tuple[PeerMessage, ...]:
        """Messages of a campaign, newest first."""
        ...
