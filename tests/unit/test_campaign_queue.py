"""Who is next, how much it may cost, what it works on, when it is tried again: the arithmetic of cycles."""

from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heddle_campaign.rules.budget import Exhausted, Quota, Share, exhausted, left_for_cycle, split
from heddle_campaign.rules.failures import (
    LONGEST_BACKOFF,
    FailurePolicy,
    FailureStep,
    failure_step,
    failures_after,
    next_attempt,
)
from heddle_campaign.rules.queue import Bounds, DueCycle, Rate, Spent, choose, spend
from heddle_campaign.rules.rotation import Candidate, RotationTarget, choose_agents, next_target
from heddle_core.clock import Micros
from heddle_core.ids import TenantId
from heddle_core.usage import MicroUsd
from tests.kit.schedules import MINUTE

SECOND = 1_000_000


def _cycle(name: str, due: int = 0, priority: int = 0) -> DueCycle:
    """`a.c1.7`: cycle 7 of campaign c1 of tenant a."""
    tenant, campaign, _ = name.split(".")
    return DueCycle(name, TenantId(tenant), campaign, Micros(due), priority)


def _names(chosen: tuple[DueCycle, ...]) -> list[str]:
    return [each.cycle_id for each in chosen]


# --- fairness -----------------------------------------------------------------------------------------------


def test_a_tenant_with_many_due_cycles_does_not_hold_back_another() -> None:
    waiting = [_cycle(f"a.c{each}.1", due=each) for each in range(50)] + [_cycle("b.c1.1", due=1_000)]
    assert _names(choose(waiting, {}, 3, Bounds())) == ["a.c0.1", "b.c1.1", "a.c1.1"]


def test_within_a_tenant_priority_goes_before_age() -> None:
    waiting = [_cycle("a.c1.1", due=1), _cycle("a.c2.1", due=2, priority=5), _cycle("a.c3.1", due=0, priority=-5)]
    assert _names(choose(waiting, {}, 9, Bounds())) == ["a.c2.1", "a.c1.1", "a.c3.1"]


def test_a_larger_share_is_served_more_often() -> None:
    waiting = [_cycle(f"{tenant}.c{each}.1", due=each) for tenant in "ab" for each in range(30)]
    bounds = Bounds(per_tenant=30, tenant_shares={TenantId("a"): 3})
    assert Counter(each.tenant for each in choose(waiting, {}, 20, bounds)) == {"a": 15, "b": 5}


def test_what_is_at_work_counts_against_campaign_and_tenant() -> None:
    waiting = [_cycle("a.c1.2"), _cycle("a.c2.1"), _cycle("b.c1.1")]
    running = {(TenantId("a"), "c1"): 1, (TenantId("b"), "c9"): 2}
    assert _names(choose(waiting, running, 9, Bounds(per_tenant=2))) == ["a.c2.1"]


cycles = st.builds(
    lambda tenant, campaign, place, due, priority: _cycle(f"{tenant}.c{campaign}.{place}", due, priority),
    st.sampled_from("abc"),
    st.integers(1, 3),
    st.integers(0, 99),
    st.integers(0, 50),
    st.integers(-1, 1),
)


@settings(max_examples=120, deadline=None)
@given(
    st.lists(cycles, unique_by=lambda each: each.cycle_id),
    st.dictionaries(
        st.tuples(st.sampled_from(["a", "b", "c"]).map(TenantId), st.sampled_from(["c1", "c2"])), st.integers(0, 3)
    ),
    st.integers(0, 8),
    st.integers(1, 4),
)
def test_no_bound_is_passed_and_no_slot_stays_free_that_a_cycle_could_take(
    waiting: list[DueCycle], running: dict[tuple[TenantId, str], int], free: int, per_tenant: int
) -> None:
    bounds = Bounds(per_tenant=per_tenant)
    chosen = choose(waiting, running, free, bounds)
    assert len(chosen) <= free
    at_work = Counter(running)
    at_work.update((each.tenant, each.campaign_id) for each in chosen)
    of_tenant = Counter[TenantId]()
    for (tenant, _), number in at_work.items():
        of_tenant[tenant] += number
    for each in chosen:
        assert at_work[each.tenant, each.campaign_id] <= 1
        assert of_tenant[each.tenant] <= per_tenant
    if len(chosen) < free:
        left = [each for each in waiting if each not in chosen]
        assert all(at_work[each.tenant, each.campaign_id] >= 1 or of_tenant[each.tenant] >= per_tenant for each in left)
    assert chosen == choose(list(reversed(waiting)), running, free, bounds)


@settings(max_examples=80, deadline=None)
@given(st.integers(1, 10), st.integers(1, 120), st.lists(st.integers(0, 20), max_size=80))
def test_no_more_begin_in_a_while_than_a_rate_allows_and_a_refusal_names_the_next_moment(
    most: int, seconds: int, waits: list[int]
) -> None:
    rate, spent, now, taken = Rate(most, timedelta(seconds=seconds)), Spent(), 1_000 * SECOND, list[int]()
    for wait in waits:
        now += wait * SECOND
        after, free_at = spend(rate, spent, Micros(now))
        if free_at is None:
            taken.append(now)
        else:
            assert after == spent
            assert spend(rate, spent, Micros(free_at - 1))[1] is not None
            assert spend(rate, spent, free_at)[1] is None
        spent = after
    # A burst after a rest, and then one a step: over any stretch at most the burst and what the stretch gives.
    for first in range(len(taken)):
        for last in range(first, len(taken)):
            gained = (taken[last] - taken[first]) * most / (seconds * SECOND)
            assert last - first + 1 <= most + gained + 1e-6


# --- money --------------------------------------------------------------------------------------------------

shares = st.lists(
    st.builds(Share, st.uuids().map(str), st.integers(0, 9), st.one_of(st.none(), st.integers(0, 500).map(MicroUsd))),
    min_size=1,
    max_size=5,
)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2_000), shares)
def test_slices_never_exceed_the_total_or_a_bound_and_leave_nothing_that_could_be_taken(
    total: int, asked: list[Share]
) -> None:
    slices = split(MicroUsd(total), asked)
    assert list(slices) == [each.role for each in asked]
    given_out = sum(each or 0 for each in slices.values())
    assert given_out <= total
    for each in asked:
        assert 0 <= (slices[each.role] or 0) <= (total if each.most is None else each.most)
    room = sum(10**9 if each.most is None else each.most for each in asked)
    assert given_out == min(total, room)


def test_a_budget_is_divided_by_weight_and_what_one_cannot_take_goes_to_the_others() -> None:
    assert split(MicroUsd(100), [Share("a", 3), Share("b", 1)]) == {"a": 75, "b": 25}
    assert split(MicroUsd(100), [Share("a", 3, MicroUsd(15)), Share("b", 1), Share("c", 1)]) == {
        "a": 15,
        "b": 43,
        "c": 42,
    }
    assert split(None, [Share("a", 1, MicroUsd(9)), Share("b")]) == {"a": 9, "b": None}


def test_open_cycles_hold_their_slices_until_they_end() -> None:
    assert left_for_cycle(MicroUsd(100), MicroUsd(40), [MicroUsd(30)]) == 30
    assert left_for_cycle(MicroUsd(100), MicroUsd(90), [MicroUsd(30)]) == 0
    assert left_for_cycle(None, MicroUsd(90), []) is None


@pytest.mark.parametrize(
    ("used", "quota", "produced", "told"),
    [
        (99, Quota(), Quota(9, 9, 9), None),
        (100, Quota(), Quota(), Exhausted.BUDGET),
        (0, Quota(posts=3), Quota(posts=2), None),
        (0, Quota(posts=3), Quota(posts=3), Exhausted.QUOTA),
        (0, Quota(posts=3, videos=1), Quota(videos=2), Exhausted.QUOTA),
    ],
)
def test_a_budget_or_a_quota_that_is_reached_is_told(
    used: int, quota: Quota, produced: Quota, told: Exhausted | None
) -> None:
    assert exhausted(MicroUsd(100), MicroUsd(used), quota, produced) is told


# --- rotation -----------------------------------------------------------------------------------------------

TARGETS = [RotationTarget("x", 3), RotationTarget("y", 1), RotationTarget("z", 1)]


def test_the_target_that_lags_most_behind_its_share_is_next_and_the_reason_says_so() -> None:
    choice = next_target(TARGETS, {"x": 3, "y": 0, "z": 1, "gone": 7})
    assert choice is not None
    assert (choice.target.key, choice.reason) == ("y", "share wanted 20%, had 0% of 4 cycles")


def test_ties_go_to_the_lower_count_then_the_heavier_then_by_name() -> None:
    first = next_target(TARGETS, {})
    assert first is not None
    assert first.target.key == "x"
    even = next_target([RotationTarget("b"), RotationTarget("a")], {"a": 1, "b": 1})
    assert even is not None
    assert even.target.key == "a"
    assert next_target([], {"a": 1}) is None


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6))
def test_after_as_many_cycles_as_all_weights_every_target_had_just_its_share(weights: list[int]) -> None:
    targets = [RotationTarget(f"t{place}", weight) for place, weight in enumerate(weights)]
    counts = Counter[str]()
    for _ in range(sum(weights)):
        choice = next_target(targets, counts)
        assert choice is not None
        counts[choice.target.key] += 1
    assert [counts[each.key] for each in targets] == weights


def test_agents_that_cannot_be_asked_are_left_out() -> None:
    candidates = [
        Candidate("off", disabled=True),
        Candidate("weightless", weight=0),
        Candidate("broke", budget_left=MicroUsd(0)),
        Candidate("elsewhere", platforms=frozenset({"tiktok"})),
        Candidate("here", platforms=frozenset({"x"})),
        Candidate("anywhere", weight=2),
    ]
    assert choose_agents(candidates, {}, RotationTarget("t", platform="x")) == ("anywhere", "here")
    assert choose_agents(candidates, {}, RotationTarget("t", role="here")) == ("here",)
    assert choose_agents(candidates[:3], {}) == ()


def test_when_not_all_can_be_asked_those_asked_least_for_their_weight_are() -> None:
    candidates = [Candidate("a", 1), Candidate("b", 3), Candidate("c", 1)]
    assert choose_agents(candidates, {"a": 1, "b": 2, "c": 2}, most=2) == ("b", "a")


# --- failures -----------------------------------------------------------------------------------------------

POLICY = FailurePolicy()


def test_three_failures_in_a_row_pause_and_five_need_a_person() -> None:
    in_row, told = 0, list[FailureStep]()
    for _ in range(5):
        in_row = failures_after(in_row, failed=True)
        told.append(failure_step(POLICY, in_row))
    assert told == [FailureStep.GO_ON] * 2 + [FailureStep.PAUSE] * 2 + [FailureStep.NEED_PERSON]
    assert failures_after(in_row, failed=False) == 0


def test_waits_double_are_spread_and_end_with_the_last_attempt() -> None:
    now = Micros(0)
    waits = [
        next_attempt(FailurePolicy(max_attempts=20), "r1", each, now, retryable=True) or 0 for each in range(1, 13)
    ]
    for attempt, wait in enumerate(waits):
        doubled = min(10 * 2**attempt, LONGEST_BACKOFF.total_seconds()) * SECOND
        assert 0.8 * doubled <= wait <= 1.2 * doubled
    assert next_attempt(POLICY, "r1", 3, now, retryable=True) is None
    assert next_attempt(POLICY, "r1", 1, now, retryable=False) is None
    assert next_attempt(POLICY, "r1", 1, now, retryable=True) == next_attempt(POLICY, "r1", 1, now, retryable=True)
    assert len({next_attempt(POLICY, f"r{each}", 1, now, retryable=True) for each in range(20)}) == 20


def test_a_rate_is_whole_again_after_its_while() -> None:
    rate, spent = Rate(2, timedelta(minutes=1)), Spent()
    for _ in range(2):
        spent, refused = spend(rate, spent, Micros(MINUTE))
        assert refused is None
    assert spend(rate, spent, Micros(MINUTE)) == (spent, MINUTE + 30 * SECOND)
    assert spend(rate, spent, Micros(2 * MINUTE))[1] is None
