"""What a campaign's settings must be to be taken: every fault is told with its field and its remedy.

The schedule has its own, in `validation`. Fields have the contract's names, as they stand in a `Campaign`.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence, Sized
from datetime import timedelta
from typing import assert_never

from heddle_campaign.rules.campaigns import CampaignAgent, CampaignSettings, Goal, Rotation
from heddle_campaign.rules.conditions import check_condition
from heddle_campaign.rules.failures import LONGEST_BACKOFF, FailurePolicy
from heddle_campaign.rules.rotation import MOST_AGENTS
from heddle_campaign.rules.signals import CustomSignal, PerformanceDip, TrendSpike, TriggerRule, ViralPost
from heddle_campaign.rules.triggers import SignalTrigger
from heddle_core.errors import InvalidField
from heddle_core.faults import Violation
from heddle_core.ids import is_id

MOST_MONEY = 1_000_000_000_000_000
"""Millionths of a US dollar that a budget may have: a billion dollars."""

_KIND = re.compile(r"[a-z0-9_]{1,64}")
_A_KEY = "1 to 64 letters, digits, underscores and hyphens"
_A_KIND = "1 to 64 lower-case letters, digits and underscores"
_TWICE = "a name that no other has"
_YEAR = timedelta(days=366)


def check_settings(settings: CampaignSettings, *, path: str = "campaign") -> None:
    """Refuse settings that cannot be kept.

    Raises:
        InvalidField: with every field that is wrong, below `path`, and what to do about it.
    """
    violations = tuple(Violation(f"{path}.{each.field}", each.remedy) for each in _violations(settings))
    if violations:
        raise InvalidField(violations)


def kind_problem(kind: str) -> str:
    """Why a text is no kind of signal; empty: it is one."""
    return "" if _KIND.fullmatch(kind) else _A_KIND


def _violations(settings: CampaignSettings) -> Iterator[Violation]:
    yield from _text("title", settings.title, 200, least=1)
    yield from _text("brief", settings.brief, 8_000)
    yield from _agents(settings.agents)
    yield from _rotation(settings.rotation, {each.role for each in settings.agents})
    yield from _triggers(settings.triggers)
    yield from _goals(settings.goals)
    for name in ("posts", "images", "videos"):
        if getattr(settings.quota, name) < 0:
            yield Violation(f"quota.{name}", "zero for no bound, or more")
    yield from _money("budget", settings.budget)
    yield from _policy(settings.failure_policy)
    yield from _within("priority", settings.priority, -100, 100)
    yield from _within("max_concurrent_cycles", settings.max_concurrent_cycles, 1, 16, "or 0 for 1")
    yield from _within("max_agents_per_cycle", settings.max_agents_per_cycle, 1, MOST_AGENTS, "or 0 for all")
    yield from _most("labels", settings.labels, 32)


def _agents(agents: Sequence[CampaignAgent]) -> Iterator[Violation]:
    yield from _most("agents", agents, 32)
    yield from _keys("agents", "role", [each.role for each in agents])
    for place, agent in enumerate(agents):
        path = f"agents[{place}]"
        if not is_id(agent.agent_id):
            yield Violation(f"{path}.agent_id", "the id of an agent: ListAgents tells them")
        if agent.agent_version < 0:
            yield Violation(f"{path}.agent_version", "from 1, or 0 for the newest")
        yield from _text(f"{path}.objective", agent.objective, 4_000)
        yield from _within(f"{path}.weight", agent.weight, 0, 1_000)
        yield from _money(f"{path}.daily_budget", agent.daily_budget)
        yield from _most(f"{path}.signal_kinds", agent.signal_kinds, 64)
        for number, kind in enumerate(agent.signal_kinds):
            if problem := kind_problem(kind):
                yield Violation(f"{path}.signal_kinds[{number}]", problem)
        yield from _most(f"{path}.platforms", agent.platforms, 64)
        for number, platform in enumerate(agent.platforms):
            yield from _text(f"{path}.platforms[{number}]", platform, 64, least=1)


def _rotation(rotation: Rotation, roles: set[str]) -> Iterator[Violation]:
    yield from _most("rotation.targets", rotation.targets, 32)
    yield from _keys("rotation.targets", "key", [each.key for each in rotation.targets])
    for place, target in enumerate(rotation.targets):
        path = f"rotation.targets[{place}]"
        yield from _text(f"{path}.topic", target.topic, 1_000)
        yield from _text(f"{path}.platform", target.platform, 64)
        # A draft may name its agents later.
        if target.role and roles and target.role not in roles:
            yield Violation(f"{path}.role", f"the role of an agent of this campaign: {', '.join(sorted(roles))}")
        yield from _within(f"{path}.weight", target.weight, 1, 1_000, "or 0 for 1")
    if not timedelta(0) < rotation.look_back <= _YEAR:
        yield Violation("rotation.look_back", "more than 0, at most 366 days; leave it out for 14 days")


def _triggers(triggers: Sequence[SignalTrigger]) -> Iterator[Violation]:
    yield from _most("triggers", triggers, 16)
    yield from _keys("triggers", "key", [each.key for each in triggers])
    for place, trigger in enumerate(triggers):
        path = f"triggers[{place}]"
        yield from _rule(path, trigger.rule)
        yield from _within(f"{path}.max_agents", trigger.max_agents, 1, MOST_AGENTS, "or 0 for 2")
        if not timedelta(0) <= trigger.cool_down <= _YEAR:
            yield Violation(f"{path}.cool_down", "0 to 366 days; leave it out for 6 hours")


def _rule(path: str, rule: TriggerRule) -> Iterator[Violation]:
    match rule:
        case TrendSpike():
            yield from _percent(f"{path}.trend_spike.min_virality", rule.min_virality, 100)
            yield from _percent(f"{path}.trend_spike.min_growth_percent", rule.min_growth_percent, 1_000_000)
            yield from _most(f"{path}.trend_spike.keywords", rule.keywords, 64)
            for number, keyword in enumerate(rule.keywords):
                yield from _text(f"{path}.trend_spike.keywords[{number}]", keyword, 64, least=1)
        case ViralPost():
            yield from _percent(f"{path}.viral_post.min_engagement_percent", rule.min_engagement_percent, 100)
        case PerformanceDip():
            yield from _percent(f"{path}.performance_dip.min_fall_percent", rule.min_fall_percent, 100)
            if not timedelta(hours=1) <= rule.window <= _YEAR:
                yield Violation(f"{path}.performance_dip.window", "1 hour to 366 days; leave it out for 7 days")
        case CustomSignal():
            if problem := kind_problem(rule.kind):
                yield Violation(f"{path}.custom.kind", problem)
            try:
                check_condition(rule.condition, f"{path}.custom.condition")
            except InvalidField as error:
                yield from error.violations
        case _:
            assert_never(rule)


def _goals(goals: Sequence[Goal]) -> Iterator[Violation]:
    yield from _most("goals", goals, 16)
    yield from _keys("goals", "key", [each.key for each in goals])
    for place, goal in enumerate(goals):
        yield from _text(f"goals[{place}].description", goal.description, 1_000, least=1)
        yield from _text(f"goals[{place}].metric", goal.metric, 64)


def _policy(policy: FailurePolicy) -> Iterator[Violation]:
    path = "failure_policy"
    yield from _within(f"{path}.pause_after", policy.pause_after, 1, 100, "or 0 for 3")
    yield from _within(f"{path}.require_person_after", policy.require_person_after, 1, 100, "or 0 for 5")
    yield from _within(f"{path}.max_attempts", policy.max_attempts, 1, 10, "or 0 for 3")
    if not timedelta(0) < policy.initial_backoff <= LONGEST_BACKOFF:
        yield Violation(f"{path}.initial_backoff", "more than 0, at most 1 hour; leave it out for 10 seconds")


def _text(path: str, text: str, most: int, *, least: int = 0) -> Iterator[Violation]:
    if not least <= len(text) <= most:
        yield Violation(path, f"{f'{least} to' if least else 'at most'} {most} characters; these are {len(text)}")


def _most(path: str, items: Sized, most: int) -> Iterator[Violation]:
    if len(items) > most:
        yield Violation(path, f"at most {most}; these are {len(items)}")


def _keys(path: str, name: str, keys: Sequence[str]) -> Iterator[Violation]:
    counts = Counter(keys)
    for place, key in enumerate(keys):
        if not is_id(key):
            yield Violation(f"{path}[{place}].{name}", _A_KEY)
        elif counts[key] > 1:
            yield Violation(f"{path}[{place}].{name}", _TWICE)


def _within(path: str, number: int, least: int, most: int, otherwise: str = "") -> Iterator[Violation]:
    if not least <= number <= most:
        yield Violation(path, f"{least} to {most}{f', {otherwise}' if otherwise else ''}")


def _percent(path: str, number: float, most: int) -> Iterator[Violation]:
    if not 0 <= number <= most:
        yield Violation(path, f"0 to {most:,}")


def _money(path: str, amount: int | None) -> Iterator[Violation]:
    if amount is not None and not 0 <= amount <= MOST_MONEY:
        yield Violation(path, "0 to 1,000,000,000 US dollars; leave it out for no bound")
