"""What a campaign does with a signal: once a dedupe key, not while it cools down, by agents that opted in."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import IntEnum

from heddle_campaign.rules.signals import Payload, TriggerRule, kind_of, match_signal
from heddle_core.clock import Micros, micros

DEDUPE_FOR = timedelta(days=30)
"""How long a dedupe key starts no second cycle."""


class SignalOutcome(IntEnum):
    """What a campaign did with a signal; the numbers are the contract's."""

    FIRED = 1
    DUPLICATE = 2
    NO_MATCH = 3
    COOLING_DOWN = 4
    NOBODY = 5
    NO_ROOM = 6


@dataclass(frozen=True, slots=True)
class SignalTrigger:
    """A rule by which signals start cycles of a campaign."""

    key: str
    rule: TriggerRule
    max_agents: int = 2
    cool_down: timedelta = timedelta(hours=6)
    disabled: bool = False


@dataclass(frozen=True, slots=True)
class OptedIn:
    """An agent of the campaign, as far as signals go."""

    role: str
    signal_kinds: frozenset[str]
    weight: int = 1


@dataclass(frozen=True, slots=True)
class TriggerHistory:
    """What the campaign's triggers did before."""

    last_fired: Mapping[str, Micros]
    """When each trigger, by key, last started a cycle."""
    dedupe_keys: Mapping[str, Micros]
    """When a cycle was started for each dedupe key; only the one that is asked for need be there."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the campaign does."""

    outcome: SignalOutcome
    trigger_key: str = ""
    score: float = 0.0
    roles: tuple[str, ...] = ()
    """Who is asked, when it fires."""
    reason: str = ""
    """For people."""
    cools_until: Micros | None = None


def answer(
    triggers: Sequence[SignalTrigger],
    agents: Sequence[OptedIn],
    history: TriggerHistory,
    kind: str,
    payload: Payload,
    dedupe_key: str,
    words: frozenset[str],
    now: Micros,
) -> Answer:
    """What an ACTIVE campaign does with a signal: of its triggers for this kind, the strongest that may fire does.

    Raises:
        BadCondition: a custom trigger's condition cannot be understood; it is refused when the campaign is set.
    """
    fired_before = history.dedupe_keys.get(dedupe_key)
    if fired_before is not None and now - fired_before < micros(DEDUPE_FOR):
        return Answer(SignalOutcome.DUPLICATE, reason=f"a cycle was started for {dedupe_key} before")
    answers = [
        _answer(each, agents, history, payload, words, now)
        for each in triggers
        if not each.disabled and kind_of(each.rule) == kind
    ]
    return max(answers, key=_preference, default=Answer(SignalOutcome.NOBODY, reason=f"no trigger is for {kind}"))


def opted_in(agents: Sequence[OptedIn], kind: str, most: int) -> tuple[str, ...]:
    """The roles that answer a kind of signal: the heaviest first, ties by name, at most `most`."""
    willing = [each for each in agents if kind in each.signal_kinds]
    return tuple(each.role for each in sorted(willing, key=lambda each: (-each.weight, each.role))[:most])


def _answer(
    trigger: SignalTrigger,
    agents: Sequence[OptedIn],
    history: TriggerHistory,
    payload: Payload,
    words: frozenset[str],
    now: Micros,
) -> Answer:
    match = match_signal(trigger.rule, payload, words)
    if not match.fires:
        return Answer(SignalOutcome.NO_MATCH, trigger.key, match.score, reason=match.reason)
    last = history.last_fired.get(trigger.key)
    if last is not None and now < last + micros(trigger.cool_down):
        cools_until = Micros(last + micros(trigger.cool_down))
        return Answer(
            SignalOutcome.COOLING_DOWN, trigger.key, match.score, reason=match.reason, cools_until=cools_until
        )
    roles = opted_in(agents, kind_of(trigger.rule), trigger.max_agents)
    if not roles:
        return Answer(SignalOutcome.NOBODY, trigger.key, match.score, reason="no agent has opted in to this kind")
    return Answer(SignalOutcome.FIRED, trigger.key, match.score, roles, match.reason)


_ORDER = (SignalOutcome.FIRED, SignalOutcome.COOLING_DOWN, SignalOutcome.NOBODY, SignalOutcome.NO_MATCH)


def _preference(each: Answer) -> tuple[int, float]:
    """What fires goes before what does not, and the stronger before the weaker."""
    return -_ORDER.index(each.outcome), each.score
