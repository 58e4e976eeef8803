"""What campaigns do with signals: the built-in rules at their thresholds, opt-in, cool-down and dedupe keys."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heddle.campaign.v1alpha1 import signal_pb2
from heddle_campaign.rules.signals import (
    CustomSignal,
    PerformanceDip,
    TrendSpike,
    TriggerRule,
    ViralPost,
    match_signal,
)
from heddle_campaign.rules.triggers import (
    Answer,
    OptedIn,
    SignalOutcome,
    SignalTrigger,
    TriggerHistory,
    answer,
    opted_in,
)
from heddle_campaign.rules.words import terms
from heddle_core.clock import Micros
from tests.kit.schedules import DAY, HOUR, at

NOW = at("2026-06-01 12:00")
WORDS = terms("Autumn coats for cyclists, made_well")


def _trend(**changes: Any) -> dict[str, Any]:
    return {"topic": "autumn", "virality": 70, "growth_percent": 25, "keywords": ["Coats"], **changes}


@pytest.mark.parametrize(
    ("rule", "payload", "fires", "score"),
    [
        (TrendSpike(), _trend(), True, 125.0),
        (TrendSpike(), _trend(virality=69.9), False, 0.0),
        (TrendSpike(), _trend(growth_percent=24.9), False, 0.0),
        (TrendSpike(), _trend(topic="shoes", keywords=["boots"]), False, 0.0),
        (TrendSpike(keywords=("Boots",)), _trend(topic="shoes", keywords=["boots"]), True, 110.0),
        (TrendSpike(keywords=("rain coat",)), _trend(topic="", keywords=["Rain Coat"]), True, 110.0),
        (TrendSpike(), {"trends": [_trend(), _trend(virality=90), _trend(virality=10)]}, True, 145.0),
        (TrendSpike(), _trend(topic="Boots for how to get them well", keywords=["for dogs"]), False, 0.0),
        (TrendSpike(), _trend(topic="rain_coats for all", keywords=["for"]), True, 110.0),
        (TrendSpike(keywords=("work",)), _trend(topic="Remote work", keywords=[]), True, 110.0),
        (TrendSpike(keywords=("cold_brew",)), _trend(topic="Cold_Brew", keywords=[]), True, 110.0),
        (TrendSpike(), {"trends": "many"}, False, 0.0),
        (TrendSpike(), {}, False, 0.0),
        (ViralPost(), {"engagement_percent": 8}, True, 8.0),
        (ViralPost(), {"engagement_percent": 7.99}, False, 0.0),
        (ViralPost(), {"engagement_percent": True}, False, 0.0),
        (ViralPost(), {"engagement_percent": float("nan")}, False, 0.0),
        (PerformanceDip(), {"change_percent": -20, "posts": 1, "window_days": 7}, True, 20.0),
        (PerformanceDip(), {"change_percent": -19.9, "posts": 1, "window_days": 7}, False, 0.0),
        (PerformanceDip(), {"change_percent": -50, "posts": 0, "window_days": 7}, False, 0.0),
        (PerformanceDip(), {"change_percent": -50, "posts": 1, "window_days": 30}, False, 0.0),
        (PerformanceDip(), {"change_percent": -50, "posts": 1}, True, 50.0),
        (CustomSignal("stock_low", "signal.left < 3"), {"left": 2}, True, 1.0),
        (CustomSignal("stock_low", "signal.left < 3"), {"left": 3}, False, 0.0),
        (CustomSignal("stock_low", "signal.left < 3"), {}, False, 0.0),
    ],
)
def test_rules_fire_from_their_thresholds_on(rule: TriggerRule, payload: Any, fires: bool, score: float) -> None:
    match = match_signal(rule, payload, WORDS)
    assert (match.fires, match.score) == (fires, score)
    assert match.reason


VIRAL = SignalTrigger("viral", ViralPost())
AGENTS = [
    OptedIn("a", frozenset({"viral_post"}), 1),
    OptedIn("b", frozenset({"viral_post", "trend_spike"}), 5),
    OptedIn("c", frozenset({"viral_post"}), 5),
    OptedIn("d", frozenset()),
]


def _answer(history: TriggerHistory, *triggers: SignalTrigger, percent: float = 9.0, now: Micros = NOW) -> Answer:
    return answer(triggers, AGENTS, history, "viral_post", {"engagement_percent": percent}, "post-1", WORDS, now)


NEW = TriggerHistory({}, {})


def test_a_match_asks_the_heaviest_agents_that_opted_in() -> None:
    told = _answer(NEW, VIRAL)
    assert (told.outcome, told.roles, told.score) == (SignalOutcome.FIRED, ("b", "c"), 9.0)


def test_a_dedupe_key_starts_no_second_cycle_for_thirty_days() -> None:
    assert _answer(TriggerHistory({}, {"post-1": Micros(NOW - 29 * DAY)}), VIRAL).outcome is SignalOutcome.DUPLICATE
    assert _answer(TriggerHistory({}, {"post-1": Micros(NOW - 30 * DAY)}), VIRAL).outcome is SignalOutcome.FIRED
    assert _answer(TriggerHistory({}, {"post-2": NOW}), VIRAL).outcome is SignalOutcome.FIRED


def test_a_trigger_cools_down_and_says_until_when() -> None:
    told = _answer(TriggerHistory({"viral": Micros(NOW - HOUR)}, {}), VIRAL)
    assert (told.outcome, told.cools_until) == (SignalOutcome.COOLING_DOWN, NOW + 5 * HOUR)
    assert _answer(TriggerHistory({"viral": Micros(NOW - 6 * HOUR)}, {}), VIRAL).outcome is SignalOutcome.FIRED


def test_another_trigger_fires_while_one_cools_down() -> None:
    other = SignalTrigger("other", ViralPost(5.0), cool_down=timedelta(0))
    assert _answer(TriggerHistory({"viral": NOW}, {}), VIRAL, other).trigger_key == "other"


def test_nobody_answers_without_a_trigger_or_an_agent() -> None:
    assert _answer(NEW).outcome is SignalOutcome.NOBODY
    assert _answer(NEW, SignalTrigger("viral", ViralPost(), disabled=True)).outcome is SignalOutcome.NOBODY
    assert answer([VIRAL], AGENTS[3:], NEW, "viral_post", {"engagement_percent": 9}, "k", WORDS, NOW).outcome is (
        SignalOutcome.NOBODY
    )


def test_what_does_not_match_is_told_with_what_was_lacking() -> None:
    told = _answer(NEW, VIRAL, percent=2.0)
    assert (told.outcome, told.reason) == (SignalOutcome.NO_MATCH, "engagement is below 8 %")


def test_outcomes_have_the_numbers_of_the_contract() -> None:
    names = {f"SIGNAL_OUTCOME_{each.name}": each.value for each in SignalOutcome}
    assert names == {name: number for name, number in signal_pb2.SignalOutcome.items() if number}


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.builds(OptedIn, st.text("abcdef", min_size=1, max_size=3), st.just(frozenset({"k"})), st.integers(0, 9))
    ),
    st.integers(1, 5),
)
def test_no_more_agents_than_asked_and_none_lighter_than_one_left_out(agents: list[OptedIn], most: int) -> None:
    chosen = opted_in(agents, "k", most)
    assert len(chosen) == min(most, len(agents))
    weights = sorted((each.weight for each in agents), reverse=True)
    assert sorted(weights[: len(chosen)]) == sorted(weights)[len(agents) - len(chosen) :]
