"""Signals from wherever they come: checked once, offered to every campaign with a trigger for their kind.

A campaign answers a dedupe key once; that alone makes it safe to report a signal again, through any door.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from heddle_campaign.facade import firing
from heddle_campaign.facade.campaigns import Ring
from heddle_campaign.facade.lessons import Lessons
from heddle_campaign.facade.ports.campaigns import CampaignStore
from heddle_campaign.facade.ports.decisions import Asked, Change, Standing
from heddle_campaign.rules.campaigns import Campaign
from heddle_campaign.rules.cycles import Signal
from heddle_campaign.rules.settings_checks import kind_problem
from heddle_campaign.rules.triggers import SignalOutcome
from heddle_campaign.rules.validation import EARLIEST, LATEST
from heddle_core.companion_errors import CampaignNotFound
from heddle_core.errors import InvalidField
from heddle_core.faults import Violation
from heddle_core.ids import TenantId
from heddle_core.json_text import problem_of
from heddle_core.requests import RequestKey

LARGEST_PAYLOAD = 64 * 1024
"""Bytes of a signal's payload."""
LONGEST_KEY = 128
LONGEST_SOURCE = 256


@dataclass(frozen=True, slots=True)
class SignalMatch:
    """What one campaign did with a signal."""

    campaign_id: str
    outcome: SignalOutcome
    trigger_key: str = ""
    cycle_id: str = ""
    """That it started, or had started for the same dedupe key."""
    score: float = 0.0


@dataclass(frozen=True, slots=True)
class Signals:
    """Takes signals."""

    store: CampaignStore
    lessons: Lessons
    ring: Ring

    async def report(
        self, tenant: TenantId, signal: Signal, *, campaign_id: str = "", key: RequestKey | None = None
    ) -> tuple[SignalMatch, ...]:
        """Have campaigns answer a signal; what each with a trigger of this kind did, strongest match first.

        Args:
            tenant: whose campaigns.
            signal: what happened.
            campaign_id: the only campaign that may answer. Empty: all.
            key: of the request, if an RPC brought it: a repeat tells what the first told.

        Raises:
            InvalidField: a field of the signal.
            CampaignNotFound: the named campaign is unknown.
            RequestIdReused, StoreUnavailable.
        """
        _check(signal)
        told = await self.store.target_of(key) if key is not None else None
        if told is not None:
            return _matches_of(told)
        if campaign_id and await self.store.campaign(tenant, campaign_id) is None:
            raise CampaignNotFound(campaign_id)
        await self.lessons.learn(tenant, signal, campaign_id)
        answering = await self.store.answering(tenant, signal.kind, campaign_id)
        answered = [match for each in answering if (match := await self._answered(each, signal)) is not None]
        matches = tuple(sorted(answered, key=lambda each: (each.outcome, -each.score, each.campaign_id)))
        if any(each.outcome is SignalOutcome.FIRED for each in matches):
            self.ring()
        if key is not None:
            await self.store.remember(key, _kept(matches))
        return matches

    async def _answered(self, campaign: Campaign, signal: Signal) -> SignalMatch | None:
        """What a campaign does; None: it was deleted meanwhile."""
        told: list[SignalMatch] = []

        def decide(standing: Standing) -> Change:
            answer, change = firing.answer_signal(standing, signal)
            cycle_id = change.fired.cycle_id if change.fired else standing.started
            told[:] = [SignalMatch(campaign.campaign_id, answer.outcome, answer.trigger_key, cycle_id, answer.score)]
            return change

        asked = Asked(dedupe_key=signal.dedupe_key)
        try:
            await self.store.decide(campaign.tenant, campaign.campaign_id, decide, asked=asked)
        except CampaignNotFound:
            return None
        return told[0]


def _check(signal: Signal) -> None:
    """Raises InvalidField with everything that is wrong with a signal."""
    violations = tuple(Violation(f"signal.{field}", remedy) for field, remedy in _problems(signal))
    if violations:
        raise InvalidField(violations)


def _problems(signal: Signal) -> Iterator[tuple[str, str]]:
    if problem := kind_problem(signal.kind):
        yield "kind", problem
    if not 1 <= len(signal.dedupe_key) <= LONGEST_KEY or not signal.dedupe_key.isprintable():
        yield "dedupe_key", f"1 to {LONGEST_KEY} printable characters"
    if len(signal.source) > LONGEST_SOURCE or "\0" in signal.source:
        yield "source", f"at most {LONGEST_SOURCE} characters, none of them NUL"
    if not EARLIEST <= signal.occur_time <= LATEST:
        yield "occur_time", "between the years 1970 and 2200; leave it out for now"
    problem = problem_of(signal.payload_json, limit=LARGEST_PAYLOAD)
    if problem is not None:
        yield "payload_json", problem
    elif not isinstance(json.loads(signal.payload_json), dict):
        yield "payload_json", "a JSON object, as `{}`"


def _kept(matches: Sequence[SignalMatch]) -> str:
    rows = [[each.campaign_id, each.outcome, each.trigger_key, each.cycle_id, each.score] for each in matches]
    return json.dumps(rows, separators=(",", ":"))


def _matches_of(kept: str) -> tuple[SignalMatch, ...]:
    return tuple(
        SignalMatch(campaign_id, SignalOutcome(outcome), trigger_key, cycle_id, score)
        for campaign_id, outcome, trigger_key, cycle_id, score in json.loads(kept)
    )
