"""The campaign service's store: one operation of the group commit for each thing that may happen.

Locks are taken in one order on PostgreSQL: a campaign, then its cycles. A write of one campaign names it as its
affinity; the rounds over many leave out what others hold, and wait for nobody.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TypeVar

from heddle_campaign.facade.ports.decisions import NOTHING_ASKED, Asked, Decided, Decision, Settled, Taken
from heddle_campaign.facade.ports.listing import CyclePage, ListCampaigns, ListCycles, Past
from heddle_campaign.rules.campaigns import Campaign
from heddle_campaign.rules.cycles import Cycle
from heddle_campaign.rules.queue import Bounds
from heddle_campaign.rules.states import CampaignState, CycleState
from heddle_campaign.store import campaign_rows, claims, cycle_rows, deciding, firing_rows, pages, settling
from heddle_campaign.store.cycle_steps import campaign_after, queued_again, stopped
from heddle_core.changes import Changes
from heddle_core.clock import Micros, micros
from heddle_core.companion_errors import CampaignNotFound, CycleNotFound
from heddle_core.errors import EtagMismatch, IllegalTransition
from heddle_core.requests import RequestKey
from heddle_database.port import Database, Transaction
from heddle_database.request_rows import RequestRows

T = TypeVar("T")

REQUESTS = RequestRows("campaign_requests")

_AFTER_END = timedelta(days=1)
"""For which a request is known at least, once what it started is over (SEMANTICS 3)."""
_PASSING = (
    "r.method <> 'CreateCampaign'"
    # A target ends with the last cycle that was made, whose id has 38 characters.
    " AND NOT EXISTS (SELECT 1 FROM cycles y WHERE y.tenant = r.tenant"
    " AND y.cycle_id = SUBSTR(r.target, LENGTH(r.target) - 37) AND (y.end_time = 0 OR y.end_time > :ended))"
)


@dataclass(frozen=True, slots=True)
class Store:
    """Fulfils `heddle_campaign.facade.ports.campaigns.CampaignStore`."""

    database: Database
    changes: Changes
    """Told of every campaign that is written, by its id."""

    # --- campaigns -------------------------------------------------------------------------------------------

    async def create(self, key: RequestKey, campaign: Campaign) -> Decided:
        """See the port. Its times and revision are the store's."""
        return await self._write(
            campaign.tenant, campaign.campaign_id, lambda tx: _create(tx, key, campaign), tell=campaign.campaign_id
        )

    async def decide(
        self,
        tenant: str,
        campaign_id: str,
        decision: Decision,
        *,
        key: RequestKey | None = None,
        asked: Asked = NOTHING_ASKED,
    ) -> Decided:
        """See the port."""
        return await self._write(
            tenant, campaign_id, lambda tx: _decide(tx, tenant, campaign_id, decision, key, asked), tell=campaign_id
        )

    async def target_of(self, key: RequestKey) -> str | None:
        """See the port."""
        return await self.database.read(lambda tx: REQUESTS.find_target(tx, key))

    async def remember(self, key: RequestKey, target: str) -> None:
        """See the port."""
        await self.database.write(lambda tx: REQUESTS.remember(tx, key, target))

    async def purge_requests(self, kept_for: timedelta, most: int) -> int:
        """Forget `most` requests that are older, but for those that made a campaign, or a cycle that is not over yet.

        What made a campaign is known for good, as what made a thread is: a late repeat makes no second one. What made
        a cycle is known until a day after its end.
        """
        return await self.database.write(
            lambda tx: REQUESTS.purge(tx, kept_for, most, _PASSING, ended=tx.now - micros(_AFTER_END)), bulk=True
        )

    async def settle(self, decision: Decision, most: int, again: timedelta) -> Settled:
        """See the port."""
        if most <= 0:
            return Settled((), (), None, await self.now())
        done = await self.database.write(
            lambda tx: settling.settle(tx, decision, most, micros(again)), self._tell_settled, bulk=True
        )
        return done.settled

    async def delete(self, key: RequestKey, campaign_id: str, *, etag: str) -> None:
        """See the port."""
        await self._write(key.tenant, campaign_id, lambda tx: _delete(tx, key, campaign_id, etag), tell=campaign_id)

    async def campaign(self, tenant: str, campaign_id: str) -> Campaign | None:
        """See the port."""
        return await self.database.read(lambda tx: campaign_rows.find_campaign(tx, tenant, campaign_id))

    async def now(self) -> Micros:
        """See the port."""
        return await self.database.read(lambda tx: tx.now)

    async def campaigns(self, command: ListCampaigns) -> tuple[Campaign, ...]:
        """See the port."""
        return await self.database.read(lambda tx: pages.campaign_page(tx, command))

    async def answering(self, tenant: str, kind: str, campaign_id: str = "") -> tuple[Campaign, ...]:
        """See the port."""
        return await self.database.read(lambda tx: pages.answering(tx, tenant, kind, campaign_id))

    # --- cycles ----------------------------------------------------------------------------------------------

    async def claim(self, worker: str, most: int, bounds: Bounds, lease: timedelta) -> Taken:
        """See the port."""
        return await self.database.write(
            lambda tx: claims.claim(tx, worker, most, bounds, micros(lease)), self._tell_taken, bulk=True
        )

    async def take(self, worker: str, most: int, lease: timedelta) -> Taken:
        """See the port."""
        return await self.database.write(lambda tx: claims.take(tx, worker, most, micros(lease)), bulk=True)

    async def save(self, old: Cycle, new: Cycle, then: Decision | None = None) -> Cycle | None:
        """See the port. The decision is told of the campaign as it is after the write.

        With its cycle SKIPPED, a signal has started none: its dedupe key and its trigger are free again.
        """
        campaign_id = old.key.campaign_id
        return await self._write(old.key.tenant, campaign_id, lambda tx: _save(tx, old, new, then), tell=campaign_id)

    async def request_stop(self, tenant: str, cycle_id: str, note: str, *, key: RequestKey | None = None) -> Cycle:
        """See the port."""
        campaign_id = await self._campaign_of(tenant, cycle_id)

        def stop(tx: Transaction) -> Cycle:
            return _change_cycle(tx, tenant, cycle_id, key, lambda cycle: stopped(cycle, note, tx.now))

        return await self._write(tenant, campaign_id, stop, tell=campaign_id)

    async def retry(self, key: RequestKey, cycle_id: str) -> Cycle:
        """See the port."""
        campaign_id = await self._campaign_of(key.tenant, cycle_id)

        def queue(tx: Transaction) -> Cycle:
            return _change_cycle(tx, key.tenant, cycle_id, key, lambda cycle: queued_again(cycle, tx.now))

        return await self._write(key.tenant, campaign_id, queue, tell=campaign_id)

    async def cycle(self, tenant: str, cycle_id: str) -> Cycle | None:
        """See the port."""
        return await self.database.read(lambda tx: cycle_rows.find_cycle(tx, tenant, cycle_id))

    async def of_thread(self, tenant: str, thread_id: str) -> tuple[Cycle, ...]:
        """See the port."""
        return await self.database.read(lambda tx: pages.cycles_of_thread(tx, tenant, thread_id))

    async def cycles(self, command: ListCycles) -> CyclePage:
        """See the port."""
        return await self.database.read(lambda tx: pages.cycle_page(tx, command))

    async def open_cycles(self, tenant: str, campaign_id: str) -> tuple[Cycle, ...]:
        """See the port."""
        return await self.database.read(lambda tx: cycle_rows.open_cycles(tx, tenant, campaign_id))

    async def recent_cycles(self, tenant: str, campaign_id: str, most: int) -> tuple[Cycle, ...]:
        """See the port."""
        return await self.database.read(lambda tx: pages.recent_cycles(tx, tenant, campaign_id, most))

    async def past(self, tenant: str, campaign_id: str, *, since: Micros, spent_since: Micros) -> Past:
        """See the port."""
        return await self.database.read(lambda tx: pages.past_of(tx, tenant, campaign_id, since, spent_since))

    async def _write(self, tenant: str, affinity: str, operation: Callable[[Transaction], T], *, tell: str) -> T:
        return await self.database.write(operation, lambda _: self.changes.tell(tenant, tell), affinity=affinity)

    async def _campaign_of(self, tenant: str, cycle_id: str) -> str:
        cycle = await self.cycle(tenant, cycle_id)
        if cycle is None:
            raise CycleNotFound(cycle_id)
        return cycle.key.campaign_id

    def _tell_settled(self, done: settling.Round) -> None:
        settling.tell_failures(done)
        for each in done.settled.campaigns:
            self.changes.tell(each.tenant, each.campaign_id)

    def _tell_taken(self, taken: Taken) -> None:
        for each in taken.cycles:
            self.changes.tell(each.key.tenant, each.key.campaign_id)


def _create(tx: Transaction, key: RequestKey, campaign: Campaign) -> Decided:
    target = REQUESTS.keep(tx, key, campaign.campaign_id)
    if target is not None:
        return _repeated(tx, campaign.tenant, target)
    made = replace(campaign, create_time=tx.now, update_time=tx.now, revision=1)
    campaign_rows.insert_campaign(tx, made)
    return Decided(made)


def _decide(
    tx: Transaction, tenant: str, campaign_id: str, decision: Decision, key: RequestKey | None, asked: Asked
) -> Decided:
    campaign = campaign_rows.find_campaign(tx, tenant, campaign_id, locked=True)
    target = None if key is None else REQUESTS.find_target(tx, key)
    if target is not None:
        return _repeated(tx, tenant, target)
    if campaign is None:
        raise CampaignNotFound(campaign_id)
    written = deciding.write(tx, campaign, decision(deciding.standing_of(tx, campaign, asked)))
    if key is not None:
        REQUESTS.remember(tx, key, " ".join((campaign_id, *(each.cycle_id for each in written.cycles))))
    return Decided(written.campaign, written.cycles)


def _repeated(tx: Transaction, tenant: str, target: str) -> Decided:
    """What a request made, as it stands now."""
    campaign_id, *cycle_ids = target.split()
    campaign = campaign_rows.find_campaign(tx, tenant, campaign_id)
    if campaign is None:
        raise CampaignNotFound(campaign_id)
    return Decided(campaign, cycle_rows.find_cycles(tx, tenant, cycle_ids), new=False)


def _delete(tx: Transaction, key: RequestKey, campaign_id: str, etag: str) -> None:
    campaign = campaign_rows.find_campaign(tx, key.tenant, campaign_id, locked=True)
    if REQUESTS.find_target(tx, key) is not None:
        return
    if campaign is None:
        raise CampaignNotFound(campaign_id)
    if etag not in ("", str(campaign.revision)):
        raise EtagMismatch("campaign", campaign_id, etag, str(campaign.revision))
    if campaign.state is CampaignState.ACTIVE:
        remedy = "pause or complete it first"
        raise IllegalTransition("campaign", campaign_id, campaign.state.name, "be deleted", remedy)
    if deciding.beside_of(tx, key.tenant, campaign_id).running:
        remedy = "cancel its cycles, and delete it when they have ended"
        raise IllegalTransition("campaign", campaign_id, "at work on a cycle", "be deleted", remedy)
    campaign_rows.delete_campaign(tx, key.tenant, campaign_id)
    REQUESTS.remember(tx, key, campaign_id)


def _save(tx: Transaction, old: Cycle, new: Cycle, then: Decision | None) -> Cycle | None:
    tenant, campaign_id = old.key.tenant, old.key.campaign_id
    if then is None:
        return cycle_rows.update_cycle(tx, old, new) if campaign_rows.lock_campaign(tx, tenant, campaign_id) else None
    campaign = campaign_rows.find_campaign(tx, tenant, campaign_id, locked=True)
    written = None if campaign is None else cycle_rows.update_cycle(tx, old, new)
    if campaign is not None and written is not None:
        if written.state is CycleState.SKIPPED:
            firing_rows.delete_firing(tx, tenant, campaign_id, written.cycle_id)
        deciding.write(tx, campaign, then(deciding.standing_of(tx, campaign, NOTHING_ASKED)))
    return written


def _change_cycle(
    tx: Transaction, tenant: str, cycle_id: str, key: RequestKey | None, change: Callable[[Cycle], Cycle]
) -> Cycle:
    """Change a cycle as it stands now, once a request; and count anew what became of its time."""
    cycle = cycle_rows.find_cycle(tx, tenant, cycle_id)
    campaign = cycle and campaign_rows.find_campaign(tx, tenant, cycle.key.campaign_id, locked=True)
    # Read again behind the lock, which keeps away all who would write it but those who claim it.
    cycle = campaign and cycle_rows.find_cycle(tx, tenant, cycle_id, locked=True)
    if campaign is None or cycle is None:
        raise CycleNotFound(cycle_id)
    if key is not None and REQUESTS.find_target(tx, key) is not None:
        return cycle
    changed = change(cycle)
    if changed != cycle:
        written = cycle_rows.update_cycle(tx, cycle, changed)
        assert written is not None, "the row is locked"
        followed = campaign_after(campaign, cycle, changed, tx.now)
        if followed != campaign:
            campaign_rows.update_campaigns(tx, (campaign, followed))
        changed = written
    if key is not None:
        REQUESTS.remember(tx, key, cycle_id)
    return changed
