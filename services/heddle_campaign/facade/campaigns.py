"""Campaigns as they are created, changed and moved from state to state, each once a request.

What a change means is decided in `lifecycle`; here is what it is checked against, and where it is written.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import Any

from heddle_campaign.facade import lifecycle
from heddle_campaign.facade.lifecycle import with_start
from heddle_campaign.facade.ports.campaigns import CampaignStore
from heddle_campaign.facade.ports.decisions import Change, Decision, Standing
from heddle_campaign.facade.staffing import Staffing
from heddle_campaign.facade.templates import template
from heddle_campaign.rules.campaigns import Campaign, CampaignSettings
from heddle_campaign.rules.due import ScheduleState
from heddle_campaign.rules.overlap import Load
from heddle_campaign.rules.schedule import Schedule
from heddle_campaign.rules.settings_checks import check_settings
from heddle_campaign.rules.states import CampaignState
from heddle_campaign.rules.validation import MINIMUM_DISTANCE, check
from heddle_core.clock import Micros
from heddle_core.companion_errors import CampaignNotFound
from heddle_core.errors import InvalidField, invalid
from heddle_core.faults import Violation
from heddle_core.ids import Ids, TenantId
from heddle_core.requests import Creator, RequestKey

Ring = Callable[[], None]
"""Have what is due looked at now."""


@dataclass(frozen=True, slots=True)
class Wish:
    """Settings as somebody sends them: the values, and which of their fields are meant."""

    settings: CampaignSettings
    fields: Sequence[str]
    """Names of `CampaignSettings`: of an update's mask, or what is set of a new campaign."""
    faults: tuple[Violation, ...] = ()
    """What was found wrong while it was read."""

    def applied_to(self, settings: CampaignSettings) -> CampaignSettings:
        """Other settings with the fields that are meant."""
        given: dict[str, Any] = {name: getattr(self.settings, name) for name in self.fields}
        return replace(settings, **given)


@dataclass(frozen=True, slots=True)
class Campaigns:
    """Takes campaigns."""

    store: CampaignStore
    ids: Ids
    ring: Ring
    staffing: Staffing
    minimum_distance: timedelta = MINIMUM_DISTANCE
    """Shortest time between two times of a schedule."""

    async def create(
        self, key: RequestKey, creator: Creator, wish: Wish, *, template_id: str = "", dry_run: bool = False
    ) -> Campaign:
        """Write a new campaign, DRAFT; `dry_run`: one without an id, which is not written.

        Raises:
            InvalidField: a field of the campaign, or its template is unknown.
            RequestIdReused, StoreUnavailable.
        """
        given = wish.applied_to(_template_settings(template_id)) if template_id else wish.settings
        now = await self.store.now()
        # What was taken once is not judged again by a later time: the repeat finds the campaign that was made.
        repeated = not dry_run and await self.store.target_of(key) is not None
        settings = given if repeated else self._checked(given, None, now, wish.faults)
        tenant, campaign_id = TenantId(creator.tenant), "" if dry_run else self.ids.new("campaign")
        if settings.schedule is not None:
            first = replace(settings.schedule, tenant=tenant, campaign_id=campaign_id, version=1)
            settings = replace(settings, schedule=with_start(first, None, now))
        campaign = Campaign(
            tenant=tenant,
            campaign_id=campaign_id,
            settings=settings,
            creator=creator,
            state=CampaignState.DRAFT,
            schedule_state=ScheduleState(now),
            create_time=now,
            update_time=now,
        )
        return campaign if dry_run else (await self.store.create(key, campaign)).campaign

    async def update(
        self, key: RequestKey, campaign_id: str, wish: Wish, *, etag: str = "", dry_run: bool = False
    ) -> Campaign:
        """Change what a mask names.

        Raises:
            CampaignNotFound, EtagMismatch, IllegalTransition, RequestIdReused, StoreUnavailable.
            InvalidField: a field, or an agent that is new to an ACTIVE or PAUSED campaign is not there.
        """
        if not dry_run and await self.store.target_of(key) is not None:
            return await self._decided(key, campaign_id, _unchanged)
        before = await self.store.campaign(key.tenant, campaign_id)
        if before is None:
            raise CampaignNotFound(campaign_id)
        now = await self.store.now()
        # Checked here, since it takes longer than a transaction should be held; and again only where it has changed.
        checked = self._edited(wish, before.settings, now)

        def decide(standing: Standing) -> Change:
            present = standing.campaign.settings
            settings = checked if present == before.settings else self._edited(wish, present, now)
            return lifecycle.update(standing, settings, etag=etag)

        if dry_run:
            return decide(Standing(before, Load(), now, now)).campaign
        if before.state in (CampaignState.ACTIVE, CampaignState.PAUSED):
            agents = enumerate(checked.agents)
            new = ((place, each) for place, each in agents if each not in before.settings.agents)
            await self.staffing.check(before.creator, new)
        return await self._decided(key, campaign_id, decide)

    async def activate(self, key: RequestKey, campaign_id: str, *, etag: str = "", start_now: bool = False) -> Campaign:
        """Make a DRAFT ACTIVE.

        Raises:
            CampaignNotFound, EtagMismatch, IllegalTransition, RequestIdReused.
            InvalidField: its schedule names no time any more, or an agent is not there.
        """
        draft = await self.store.campaign(key.tenant, campaign_id)
        if draft is not None and draft.state is CampaignState.DRAFT:
            await self.staffing.check(draft.creator, enumerate(draft.settings.agents))
        return await self._decided(key, campaign_id, partial(lifecycle.activate, start_now=start_now, etag=etag))

    async def pause(
        self, key: RequestKey, campaign_id: str, *, note: str = "", cancel_cycles: bool = False
    ) -> Campaign:
        """Make an ACTIVE one PAUSED. Raises CampaignNotFound, IllegalTransition."""
        decision = partial(lifecycle.pause, note=note, cancel_open=cancel_cycles)
        return await self._decided(key, campaign_id, decision)

    async def resume(self, key: RequestKey, campaign_id: str, *, note: str = "", person: bool = True) -> Campaign:
        """Make a PAUSED one ACTIVE; `person`: nobody acts for who asks. Raises CampaignNotFound, IllegalTransition."""
        return await self._decided(key, campaign_id, partial(lifecycle.resume, note=note, person=person))

    async def complete(
        self, key: RequestKey, campaign_id: str, *, note: str = "", cancel_cycles: bool = False
    ) -> Campaign:
        """Make an ACTIVE or PAUSED one COMPLETED. Raises CampaignNotFound, IllegalTransition."""
        decision = partial(lifecycle.complete, note=note, cancel_open=cancel_cycles)
        return await self._decided(key, campaign_id, decision)

    async def delete(self, key: RequestKey, campaign_id: str, *, etag: str = "") -> None:
        """Remove one that is not ACTIVE. Raises CampaignNotFound, EtagMismatch, IllegalTransition."""
        await self.store.delete(key, campaign_id, etag=etag)

    async def _decided(self, key: RequestKey, campaign_id: str, decision: Decision) -> Campaign:
        decided = await self.store.decide(key.tenant, campaign_id, decision, key=key)
        self.ring()
        return decided.campaign

    def _edited(self, wish: Wish, settings: CampaignSettings, now: Micros) -> CampaignSettings:
        return self._checked(wish.applied_to(settings), settings.schedule, now, wish.faults)

    def _checked(
        self, settings: CampaignSettings, old: Schedule | None, now: Micros, faults: tuple[Violation, ...]
    ) -> CampaignSettings:
        """The settings, which can be kept. A schedule that does not change need not name a time any more.

        Raises:
            InvalidField: with all that is wrong, `faults` first.
        """
        found = [*faults, *_violations(lambda: check_settings(settings))]
        schedule = settings.schedule
        if schedule is not None and (old is None or not _same(schedule, old, now)):
            begun = with_start(schedule, old, now)
            of_schedule = _violations(lambda: check(begun, now, self.minimum_distance))
            found += [Violation(f"campaign.{each.field}", each.remedy) for each in of_schedule]
        if found:
            raise InvalidField(tuple(found))
        return settings


def _violations(check_: Callable[[], None]) -> tuple[Violation, ...]:
    try:
        check_()
    except InvalidField as error:
        return error.violations
    return ()


def _unchanged(standing: Standing) -> Change:
    """For a request that is a repeat: the store finds what the first has made."""
    return Change(standing.campaign)


def _same(schedule: Schedule, old: Schedule, now: Micros) -> bool:
    begun = with_start(schedule, old, now)
    return replace(begun, tenant=old.tenant, campaign_id=old.campaign_id, version=old.version) == old


def _template_settings(template_id: str) -> CampaignSettings:
    found = template(template_id)
    if found is None:
        raise invalid("template_id", "one of those that ListCampaignTemplates tells")
    return found.settings
