"""What a campaign learns from a run that has ended: outcome, decisions, and where they stand."""

import json
from dataclasses import replace

import pytest

from heddle_campaign.codec.memories import memory_message
from heddle_campaign.rules.cycle_keys import CycleKey, CycleOrigin
from heddle_campaign.rules.cycles import Cycle, CycleTurn
from heddle_campaign.rules.extraction import MOST_DECISIONS, MOST_TEXT, decisions_of, memories_of, memory_id, noted
from heddle_campaign.rules.learned import Citation, Learned
from heddle_campaign.rules.memories import MemoryKind
from heddle_client.values import UNBOUNDED, AssetReference, CancelCause, Json, Part, RunState, RunView, Text
from heddle_core.clock import Micros
from heddle_core.ids import TenantId
from heddle_core.usage import NOTHING

ACME = TenantId("acme")
ENDED = Micros(1_700_000_000_000_000)
CYCLE = Cycle(
    CycleKey(ACME, "camp_1", 1, Micros(0), CycleOrigin.SCHEDULE), Micros(0), topic="spring roasts", platform="instagram"
)
TURN = CycleTurn("writer", "copywriter", run_id="run_1", thread_id="thread_1")
CITED = Citation("thread_1", 3, 17, "run_1")
RUN = RunView(
    run_id="run_1",
    thread_id="thread_1",
    state=RunState.COMPLETED,
    agent_id="copywriter",
    agent_version=1,
    parent_run_id="",
    root_run_id="run_1",
    depth=0,
    usage=NOTHING,
    limits=UNBOUNDED,
    request_sequence=3,
    end_time=ENDED,
)


def ended(*parts: Part, structured: str = "") -> RunView:
    return replace(RUN, parts=parts, structured_json=structured)


def learned(run: RunView) -> tuple[Learned, ...]:
    return memories_of(ACME, CYCLE, TURN, run, CITED)


def decided(text: str) -> list[str]:
    return [each.text for each in decisions_of(ended(Text(text)))]


def test_a_completed_run_teaches_how_it_ended_and_what_came_of_it_with_its_place() -> None:
    (outcome,) = learned(ended(Text("Posted the espresso reel."), AssetReference("asset_7")))
    assert outcome.memory.kind is MemoryKind.OUTCOME
    assert outcome.memory.text == (
        "writer completed its turn (topic: spring roasts; platform: instagram)."
        " Result: Posted the espresso reel.\n[asset asset_7]"
    )
    assert (outcome.memory.platform, outcome.memory.learned) == ("instagram", ENDED)
    assert outcome.memory.tags == ("writer", "spring roasts", "completed")
    assert (outcome.tenant, outcome.campaign_id, outcome.citation) == (ACME, "camp_1", CITED)


def test_the_summary_of_a_json_result_is_what_came_of_it() -> None:
    (outcome,) = learned(ended(structured=json.dumps({"summary": " Three drafts. ", "drafts": ["a", "b", "c"]})))
    assert outcome.memory.text.endswith("Result: Three drafts.")


def test_a_failed_run_teaches_why_and_matters_more_than_a_completed_one() -> None:
    failed = replace(RUN, state=RunState.FAILED, failure_reason="MODEL_UNAVAILABLE", failure_message="no answer")
    (outcome,) = learned(failed)
    assert outcome.memory.text.endswith(
        "failed (topic: spring roasts; platform: instagram): MODEL_UNAVAILABLE: no answer"
    )
    (completed,) = learned(ended(Text("done")))
    assert outcome.memory.importance > completed.memory.importance


def test_a_cancelled_run_teaches_who_stopped_it() -> None:
    (outcome,) = learned(replace(RUN, state=RunState.CANCELLED, cancel_cause=CancelCause.REQUESTED))
    assert "was cancelled" in outcome.memory.text
    assert outcome.memory.text.endswith("requested")


def test_a_long_result_is_cut_to_what_a_memory_holds() -> None:
    (outcome,) = learned(ended(Text("x" * 5_000)))
    assert len(outcome.memory.text) == MOST_TEXT
    assert outcome.memory.text.endswith("x…")


def test_the_decisions_of_a_json_result_are_learned_with_their_reasons() -> None:
    stated = {
        "decisions": [
            "Post at 18:00",
            {"decision": "Use reels", "reason": "they did best", "platform": "tiktok", "tags": ["reels", 3]},
            {"text": "Drop hashtags"},
            {"reason": "none given"},
            17,
            " ",
        ]
    }
    decisions = learned(ended(structured=json.dumps(stated)))[1:]
    assert [each.memory.text for each in decisions] == [
        "Post at 18:00",
        "Use reels (because they did best)",
        "Drop hashtags",
    ]
    assert [each.memory.platform for each in decisions] == ["instagram", "tiktok", "instagram"]
    assert decisions[1].memory.tags == ("writer", "reels")
    assert {each.memory.kind for each in decisions} == {MemoryKind.DECISION}
    assert all(each.citation == CITED for each in decisions)


@pytest.mark.parametrize("part", [Json('{"decisions": ["a"]}'), Text(' {"decisions": ["a"]}')])
def test_a_result_that_is_a_json_part_or_a_text_of_json_is_read_too(part: Part) -> None:
    assert [each.text for each in decisions_of(ended(part))] == ["a"]


@pytest.mark.parametrize(
    "line",
    [
        "Decision: post daily",
        "- decision: post daily",
        "  * **Decision:** post daily",
        "2. **Decision 2: post daily**",
        "DECIDED: post daily ",
    ],
)
def test_a_line_that_is_marked_as_a_decision_is_learned(line: str) -> None:
    assert decided(f"I looked at the numbers.\n{line}\nMore tomorrow.") == ["post daily"]


def test_the_list_below_a_heading_of_decisions_is_learned_and_what_follows_is_not() -> None:
    assert decided("Hello\n\n## Decisions\n\n- post daily\n- drop hashtags\n\nThanks\n- not this") == [
        "post daily",
        "drop hashtags",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "A decision was made: none",
        "Indecision: no",
        "Decision:",
        "Our decisions were good.",
        "{not json: decision}",
        '{"decisions": {"a": 1}}',
        "[" * 100_000,
        "{" * 100_000,
    ],
)
def test_what_is_no_decision_is_not_learned(text: str) -> None:
    assert decided(text) == []


def test_a_stated_list_goes_before_marked_lines_and_is_surer() -> None:
    run = ended(Text("Decision: from prose"), structured='{"decisions": ["from the list"]}')
    (stated,) = decisions_of(run)
    (marked,) = decisions_of(ended(Text("Decision: from prose")))
    assert stated.text == "from the list"
    assert stated.confidence > marked.confidence


def test_a_decision_that_is_said_twice_is_learned_once_and_many_are_cut_to_the_first() -> None:
    assert decided("Decision: a\nDecision: b\nDecision: a") == ["a", "b"]
    assert decided("\n".join(f"Decision: {number}" for number in range(20))) == [str(n) for n in range(MOST_DECISIONS)]


def test_the_same_run_gives_the_same_ids_and_another_run_gives_others() -> None:
    text = Text("Decision: a\nDecision: b")
    ids = [each.memory.memory_id for each in learned(ended(text))]
    assert ids == [each.memory.memory_id for each in learned(ended(text))]
    others = [each.memory.memory_id for each in learned(replace(ended(text), run_id="run_2"))]
    assert len(set(ids + others)) == 6


def test_an_id_keeps_its_parts_apart_and_stays_what_it_was() -> None:
    assert memory_id("ab", "c") != memory_id("a", "bc")
    assert memory_id("run_1", "outcome") == "mem_dcda77962ef0513889c76e4b1c9f4fe7"


def test_what_no_text_column_takes_is_taken_out_of_what_a_model_wrote() -> None:
    said = '{"decisions": [{"decision": "a\\u0000b\\ud800c", "platform": "x\\u0000", "tags": ["t\\udfff"]}]}'
    (decision,) = learned(ended(structured=said))[1:]
    assert decision.memory.text == "ab?c"
    assert decision.memory.platform == "x"
    assert decision.memory.tags == ("writer", "t?")


@pytest.mark.parametrize(
    ("role", "objective", "part", "outcome", "decision"),
    [
        ("clerk", "Sort the news.", AssetReference("a", "video/mp4"), "video", ""),
        ("clerk", "Make posters.", AssetReference("a", "video/mp4"), "video", "image"),
        ("film_crew", "Sort the news.", Json("{}"), "video", "video"),
        ("clerk", "Sort the news.", Json("{}"), "", ""),
    ],
)
def test_a_memory_is_about_the_content_that_was_made_or_that_the_turn_was_to_make(
    role: str, objective: str, part: Part, outcome: str, decision: str
) -> None:
    turn = replace(TURN, role=role, objective=objective)
    learned = memories_of(ACME, replace(CYCLE, topic=""), turn, ended(Text("Decision: post daily"), part), CITED)
    assert [each.memory.content_type for each in learned] == [outcome, decision]
    assert [memory_message(each).content_type for each in learned] == [outcome, decision]


def test_a_note_is_named_by_its_call_and_tagged_with_its_role() -> None:
    given = {"role": "writer", "platform": "x", "tags": ("a", "a", " "), "now": ENDED, "run_id": "run_1"}
    note = noted(MemoryKind.NOTE, " remember me ", key="run_1:call_1", **given)
    assert (note.text, note.tags, note.platform) == ("remember me", ("writer", "a"), "x")
    assert note.memory_id == noted(MemoryKind.NOTE, "other words", key="run_1:call_1", **given).memory_id
    assert note.memory_id != noted(MemoryKind.NOTE, "remember me", key="run_1:call_2", **given).memory_id
    assert noted(MemoryKind.DECISION, "x", key="k", **given).importance > note.importance
