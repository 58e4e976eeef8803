"""Summaries: when one is due, what the model is given, what becomes of its answer, and what stands in for it."""

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import heddle_runtime.threads.events as e
from heddle_core.clock import ManualClock
from heddle_core.ids import CallId, MessageId, StepId
from heddle_core.usage import MicroUsd
from heddle_runtime.models.port import (
    FaultKind,
    FinishReason,
    ModelFault,
    ModelReply,
    ModelRequest,
    ModelUsage,
    TextPart,
)
from heddle_runtime.orchestrator.compacting import (
    SECTION_LENGTH,
    TRANSCRIPT_LENGTH,
    Compacting,
    fallback,
    overdue,
    summary_of_answer,
    summary_request,
    through_sequence,
)
from heddle_runtime.orchestrator.decisions import Compact
from heddle_runtime.orchestrator.prompt import window
from heddle_runtime.runs import run as runs
from heddle_runtime.runs.content import Text
from heddle_runtime.runs.stop import Stop
from heddle_runtime.threads.fold import fold
from heddle_runtime.threads.state import Exchange, ThreadFold
from heddle_runtime.tools.schema import Schemas
from tests.kit.setups import setup_of
from tests.kit.thread_facts import RUN, completed, more, requested, said, started, tell
from tests.kit.thread_stories import THREAD, Story, stories

SECTIONS = ("artifact", "requirements", "decisions", "log")
SCHEMAS = Schemas(ManualClock())


def talk(count: int, text: str = "word") -> Story:
    """A thread of `count` exchanges, and a run that begins."""
    story = tell()
    for number in range(count):
        run = f"run_0{number}"
        more(story, requested(f"{text} {number}", f"s{number}"), started(), run=run)
        more(story, said(f"answer {number}", f"m{number}"), completed(), run=run)
    return more(story, requested("now", "s_now"), started())


def due(story: Story, size: int) -> list[str]:
    return [exchange.run_id for exchange in overdue(story.fold, RUN, size)]


def test_nothing_is_due_while_everything_is_in_the_window() -> None:
    assert due(talk(5), 10) == []
    assert due(talk(0), 0) == []


def test_what_leaves_is_taken_in_with_half_of_the_window() -> None:
    assert due(talk(6), 10) == ["run_00", "run_01", "run_02", "run_03"]


def test_after_a_summary_nothing_is_due_until_the_window_has_moved_on() -> None:
    story = talk(6)
    through = through_sequence(overdue(story.fold, RUN, 10))
    more(story, e.ContextCompacted("a", "r", "d", "l", through))
    assert due(story, 10) == []
    more(story, said("x", "m_now"), completed())
    dues = []
    for number in range(6, 16):
        run = f"run_1{number}"
        more(story, requested(str(number), f"s{number}"), started(), run=run)
        found = overdue(story.fold, run, 10)
        dues.append(len(found))
        if found:
            more(story, e.ContextCompacted("a", "r", "d", "l", through_sequence(found)), run=run)
        more(story, said("x", f"m{number}"), completed(), run=run)
    assert sum(map(bool, dues)) <= 4, "not with every turn"


@given(stories(60), st.integers(2, 8))
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_no_exchange_is_ever_neither_shown_nor_summarised(events: list[e.Event], size: int) -> None:
    state = ThreadFold(THREAD)
    for event in events:
        fold(state, [event])
        run = state.active_run
        if run is None:
            continue
        taken = overdue(state, run.run_id, size)
        through = through_sequence(taken)
        shown = window(state.history, run.run_id, size)
        for exchange in state.history:
            covered = exchange.summarised or any(exchange is each for each in taken)
            assert exchange.run_id == run.run_id or covered or any(exchange is each for each in shown)
            if any(exchange is each for each in taken):
                assert exchange.last_sequence <= through and exchange.run_id != run.run_id


def test_the_model_gets_the_record_so_far_and_what_leaves_as_data() -> None:
    story = talk(3)
    old = e.ContextCompacted("the draft", "must rhyme", "no", "began", 2)
    asked = summary_request(old, tuple(story.fold.history[:2]), setup_of(), "F9")
    part = asked.messages[0].parts[0]  # type: ignore[union-attr]
    assert isinstance(part, TextPart)
    for expected in ("must rhyme", "Person: word 0", "Agent: answer 1", "<<<F9"):
        assert expected in part.text
    assert "word 2" not in part.text and asked.response_schema_json


def test_a_long_history_is_cut_evenly_and_never_left_out() -> None:
    story = talk(9, "x" * 50_000)
    asked = summary_request(None, tuple(story.fold.history), setup_of(), "F9")
    text = asked.messages[0].parts[0].text  # type: ignore[union-attr]
    assert len(text) < TRANSCRIPT_LENGTH + 5_000
    assert all(f" {number}" in text for number in range(9)), "the end of each message is kept"


def answer_of(**sections: str) -> str:
    return json.dumps({name: sections.get(name, name) for name in SECTIONS})


OLD = e.ContextCompacted("old artifact", "old requirements", "old decisions", "old log", 2)


def test_a_good_answer_is_the_summary() -> None:
    story = talk(2)
    exchanges = tuple(story.fold.history[:2])
    summary = summary_of_answer(answer_of(artifact="A"), OLD, exchanges, SCHEMAS)
    assert (summary.artifact, summary.requirements, summary.log) == ("A", "requirements", "log")
    assert summary.through_sequence == through_sequence(exchanges)


def test_a_section_that_the_model_left_empty_is_not_lost() -> None:
    exchanges = tuple(talk(1).fold.history[:1])
    summary = summary_of_answer(answer_of(requirements="  "), OLD, exchanges, SCHEMAS)
    assert "old requirements" in summary.requirements and "word 0" in summary.requirements


@pytest.mark.parametrize(
    "answer", ["", "no json", "{}", "[]", answer_of(**dict.fromkeys(SECTIONS, " ")), '{"artifact": 1}']
)
def test_a_bad_answer_is_replaced_by_the_words_themselves(answer: str) -> None:
    exchanges = tuple(talk(2).fold.history[:2])
    assert summary_of_answer(answer, OLD, exchanges, SCHEMAS) == fallback(OLD, exchanges)


def test_without_a_model_the_essentials_are_kept_to_the_letter() -> None:
    story = tell(requested("Write a poem of 12 lines for Ada."), started())
    more(story, said("Here it is: Roses."))
    for name, tool, outcome in (("c1", "act", e.ToolCallOutcome.DENIED), ("c2", "look", e.ToolCallOutcome.OK)):
        more(story, e.ToolCallRequested(CallId(name), MessageId("msg_1"), tool, "{}"))
        more(story, e.ToolCallCompleted(CallId(name), outcome, (Text(f"result of {tool}"),)))
    more(story, completed())
    summary = fallback(OLD, tuple(story.fold.history))
    assert summary.artifact == "Here it is: Roses."
    assert summary.requirements == "old requirements\n- Write a poem of 12 lines for Ada."
    assert summary.decisions == "old decisions\n- act: [DENIED] result of act"
    assert "- look: [OK] result of look" in summary.log and summary.log.startswith("old log")


@given(st.lists(st.text(max_size=900), min_size=1, max_size=40), st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_fallback_is_bounded_and_never_empty(texts: list[str], with_old: bool) -> None:
    story = tell()
    for number, text in enumerate(texts):
        more(story, requested(text, f"s{number}"), started(), completed(), run=f"run_0{number}")
    summary = fallback(OLD if with_old else None, tuple(story.fold.history))
    for name in SECTIONS:
        assert 0 < len(getattr(summary, name)) <= SECTION_LENGTH


def test_summaries_stay_bounded_however_often_they_are_made() -> None:
    exchanges = tuple(talk(9, "y" * 590).fold.history[:9])
    summary = None
    for _ in range(30):
        summary = fallback(summary, exchanges)
    assert summary and all(len(getattr(summary, name)) <= SECTION_LENGTH for name in SECTIONS)


class OneModel:
    """Models of which each answers as it is told."""

    def __init__(self, answer: str = "", fault: ModelFault | None = None, hang: bool = False) -> None:
        self.answer, self.fault, self.hang = answer, fault, hang
        self.asked: list[ModelRequest] = []
        self.began = asyncio.Event()

    def open(self, name: str) -> Any:
        return self

    def cost(self, name: str, answered: str, usage: ModelUsage) -> MicroUsd:
        return MicroUsd(usage.input_tokens)

    async def stream(self, request: ModelRequest) -> AsyncGenerator[Any, None]:
        self.asked.append(request)
        self.began.set()
        if self.hang:
            await asyncio.Event().wait()
        if self.fault:
            raise self.fault
        yield ModelReply(self.answer, "", (), FinishReason.STOP, ModelUsage(7, 3), "m-1")


async def compacted(models: OneModel, stop: Stop | None = None, seconds: float | None = None) -> Any:
    exchanges: tuple[Exchange, ...] = tuple(talk(2).fold.history[:2])
    compacting = Compacting(models, setup_of(), SCHEMAS)
    return await compacting.compact(Compact(exchanges), OLD, StepId("s"), "F9", stop or Stop(), seconds)


async def test_a_summary_is_billed_as_a_model_call() -> None:
    bill, summary = await compacted(OneModel(answer_of()))
    assert (bill.usage.input_tokens, bill.usage.output_tokens, bill.usage.model_calls, bill.usage.cost) == (7, 3, 1, 7)
    assert (bill.model, bill.error, summary.artifact) == ("m-1", "", "artifact")


async def test_a_model_that_fails_is_billed_and_stood_in_for() -> None:
    bill, summary = await compacted(OneModel(fault=ModelFault(FaultKind.REFUSED, "no")))
    assert (bill.error, bill.usage.model_calls) == ("no", 1)
    assert summary == fallback(OLD, tuple(talk(2).fold.history[:2]))


async def test_a_run_that_is_stopped_meanwhile_has_no_summary() -> None:
    stop, models = Stop(), OneModel(hang=True)
    working = asyncio.ensure_future(compacted(models, stop))
    await models.began.wait()
    stop.set()
    (bill,) = await working
    assert bill.finish_reason is runs.FinishReason.CANCELLED and bill.usage.model_calls == 1
    (late,) = await compacted(OneModel(hang=True), seconds=0.01)
    assert late.finish_reason is runs.FinishReason.DEADLINE
