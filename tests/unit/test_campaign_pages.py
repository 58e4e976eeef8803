"""Answers of the campaign service fit into one message, whatever is in them."""

import json
from dataclasses import replace
from typing import Any

import pytest

from heddle.campaign.v1alpha1.cycle_request_pb2 import ListCyclesRequest
from heddle.common.v1.error_reason_pb2 import ErrorReason
from heddle_campaign.codec.cycles import cycle_message
from heddle_campaign.facade.reading import Frame, Shown
from heddle_campaign.rpc.pages import frame_message, page_given
from heddle_campaign.rules.campaigns import Campaign, CampaignSettings
from heddle_campaign.rules.cycle_keys import CycleKey, CycleOrigin
from heddle_campaign.rules.cycles import Cycle, CycleFailure, CycleTurn, Signal
from heddle_campaign.rules.due import ScheduleState
from heddle_campaign.rules.states import CampaignState
from heddle_core.clock import Micros
from heddle_core.ids import TenantId
from heddle_core.requests import Creator
from heddle_grpc.paging import time_cursor_asked
from heddle_runtime.runs.run import FailureReason

FRAME_BYTES = 3 * 1024 * 1024
"""Most that a stock client takes, less what is beside (CONTRACT: Limits)."""

ACME = TenantId("acme")
CAMPAIGN = Campaign(
    ACME,
    "campaign_1",
    CampaignSettings("News"),
    Creator("acme", "ann"),
    CampaignState.ACTIVE,
    ScheduleState(Micros(0)),
)
SHOWN = Shown(CAMPAIGN, CAMPAIGN.schedule_state.counters)


def cycle(number: int) -> Cycle:
    """One that brings a payload of 60 kB."""
    evidence = Signal("stock_low", json.dumps({"a": "x" * 60_000}), f"k{number}", Micros(1))
    return Cycle(CycleKey(ACME, "campaign_1", 1, Micros(number), CycleOrigin.SIGNAL), Micros(number), evidence=evidence)


def test_a_frame_holds_as_much_as_fits_the_oldest_open_cycles_first() -> None:
    many = tuple(cycle(number) for number in range(100))
    message = frame_message(Frame(SHOWN, many, many[:20], ()))
    assert 2 * 1024 * 1024 < message.ByteSize() < FRAME_BYTES
    assert [each.cycle_id for each in message.open_cycles] == [
        each.cycle_id for each in many[: len(message.open_cycles)]
    ]
    assert not message.recent_cycles
    whole = frame_message(Frame(SHOWN, many[:3], many[3:5], ()))
    assert (len(whole.open_cycles), len(whole.recent_cycles)) == (3, 2)


def test_a_page_ends_where_no_more_fits_and_goes_on_there() -> None:
    many = tuple(cycle(number) for number in range(100))
    request = ListCyclesRequest(campaign_id="campaign_1", page_size=99)
    page = page_given(ACME, request, many, cycle_message, lambda each: (each.key.scheduled_time, each.cycle_id))
    assert 10 < len(page.messages) < 99
    assert sum(each.ByteSize() for each in page.messages) < FRAME_BYTES
    request.page_token = page.next_page_token
    last = many[len(page.messages) - 1]
    assert time_cursor_asked(ACME, request) == (last.key.scheduled_time, last.cycle_id)


def test_a_page_that_holds_all_has_no_token() -> None:
    request = ListCyclesRequest(campaign_id="campaign_1", page_size=2)
    page = page_given(ACME, request, [cycle(1), cycle(2)], cycle_message, lambda each: (1, each.cycle_id))
    assert (len(page.messages), page.next_page_token) == (2, "")


@pytest.mark.parametrize("reason", [each for each in FailureReason if each])
def test_a_turn_says_for_which_reason_its_run_failed(reason: FailureReason) -> None:
    failure = failure_told(CycleFailure(reason.name, "no", retryable=False, of_run=True))
    assert (failure.reason_name, failure.run_failed, failure.message) == (reason.name, True, "no")


def test_a_turn_that_could_not_be_started_says_the_reason_of_the_refusal() -> None:
    failure = failure_told(CycleFailure("AGENT_NOT_FOUND", "gone", retryable=False))
    assert (failure.reason, failure.reason_name) == (ErrorReason.ERROR_REASON_AGENT_NOT_FOUND, "AGENT_NOT_FOUND")
    assert not failure.run_failed


def failure_told(failure: CycleFailure) -> Any:
    (turn,) = cycle_message(replace(cycle(1), turns=(CycleTurn("writer", "writer", failure=failure),))).turns
    return turn.failure
