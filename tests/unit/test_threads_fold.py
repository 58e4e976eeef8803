"""The fold: event by event, over histories that were rolled back, superseded, redacted, steered and forked."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import heddle_runtime.threads.events as e
from heddle_core.clock import Micros
from heddle_core.ids import CallId, InputId, MessageId, RequestId, RunId, ThreadId, WorkerId
from heddle_core.states import NoTransition
from heddle_core.usage import MicroUsd, Usage
from heddle_runtime.runs.content import InlineData, Text
from heddle_runtime.runs.inputs import ApprovalScope, InputAnswer, InputKind
from heddle_runtime.runs.run import CancelCause, FinishReason
from heddle_runtime.runs.state import InputState, RunState
from heddle_runtime.runs.turn import Turn
from heddle_runtime.runs.usage import Limits
from heddle_runtime.threads.fold import OutOfOrder, fold
from heddle_runtime.threads.fold_codec import decode, encode
from heddle_runtime.threads.fold_redactions import REDACTED
from heddle_runtime.threads.settings import ThreadSettings, ThreadStatus
from heddle_runtime.threads.state import HISTORY_MESSAGES, TIMELINE_LENGTH, AgentSaid, Called, ThreadFold, UserSaid
from tests.kit.thread_facts import GENERAL, RUN, asked, completed, more, requested, said, started, step, stepped, tell
from tests.kit.thread_stories import ADA, THREAD, Story, stories


def words(state: ThreadFold) -> list[str]:
    return [part.text for message in state.messages for part in message.parts if isinstance(part, Text)]


@given(stories())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_a_fold_equals_the_fold_that_was_stored_anywhere_on_the_way(events: list[e.Event]) -> None:
    whole = fold(ThreadFold(THREAD), events)
    assert decode(encode(whole), THREAD) == whole
    for place in range(len(events) + 1):
        stored = decode(encode(fold(ThreadFold(THREAD), events[:place])), THREAD)
        assert fold(stored, events[place:]) == whole


@given(stories())
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_what_a_fold_says_of_itself_holds_together(events: list[e.Event]) -> None:
    state = ThreadFold(THREAD)
    for event in events:
        fold(state, [event])
        assert state.last_sequence == event.sequence and state.head_hash == event.hash
        active = [run for run in state.runs.values() if run.state is not RunState.QUEUED or run.attempt]
        assert [run.run_id for run in active] == ([state.active_run_id] if state.active_run_id else [])
        assert not any(run.state.terminal for run in state.runs.values())
        assert len({exchange.run_id for exchange in state.history}) == len(state.history)
        assert state.last_run is None or state.last_run.state.terminal
        sequences = [message.sequence for exchange in state.history for message in exchange.messages]
        assert len(sequences) == len(set(sequences)) and all(number <= event.sequence for number in sequences)


def test_an_event_out_of_order_is_refused() -> None:
    story = tell(requested())
    with pytest.raises(OutOfOrder):
        fold(story.fold, [e.Event(9, RUN, Micros(0), started())])


def test_settings_and_status_count_revisions() -> None:
    story = tell()
    assert (story.fold.revision, story.fold.context_version, story.fold.title_is_manual) == (1, 0, True)
    more(story, e.ThreadUpdated(ThreadSettings("Plans", context_json="{}"), ("context_json",), ADA), run="")
    more(story, e.ThreadArchived(ADA), run="")
    assert (story.fold.revision, story.fold.context_version, story.fold.status) == (3, 1, ThreadStatus.ARCHIVED)
    more(story, e.ThreadUnarchived(ADA), run="")
    assert (story.fold.revision, story.fold.status) == (4, ThreadStatus.ACTIVE)


def test_a_title_of_the_runtimes_is_not_a_persons() -> None:
    story = Story(lambda *_: None)
    story.tell(e.ThreadCreated(ThreadSettings(), ADA))
    story.tell(e.ThreadUpdated(ThreadSettings("Hello"), ("title",)))
    assert (story.fold.settings.title, story.fold.title_is_manual) == ("Hello", False)
    story.tell(e.ThreadUpdated(ThreadSettings("Mine"), ("title",), ADA))
    assert story.fold.title_is_manual


def test_a_run_goes_from_its_turn_to_its_result() -> None:
    story = tell(requested())
    run = story.fold.runs[RUN]
    assert (run.state, story.fold.active_run_id, story.fold.history) == (RunState.QUEUED, "", [])
    more(
        story,
        started(),
        step(),
        said("hi"),
        stepped(usage=Usage(3, 2, model_calls=1), finish_reason=FinishReason.LENGTH),
    )
    assert (run.state, run.steps, run.usage.tokens, run.step and run.step.completed) == (RunState.RUNNING, 1, 5, True)
    assert run.step and run.step.finish_reason is FinishReason.LENGTH
    more(story, completed())
    assert (run.state, story.fold.active_run_id, story.fold.runs) == (RunState.COMPLETED, "", {})
    assert story.fold.last_run is run and run.result is not None
    assert words(story.fold) == ["hello", "hi"] and story.fold.usage.tokens == 5


def test_a_run_that_nobody_started_cannot_fail() -> None:
    with pytest.raises(NoTransition):
        tell(requested(), e.RunFailed(e.RunFailure(1, "x")))


def test_history_is_in_the_order_in_which_runs_started() -> None:
    story = tell(requested("one"), started())
    more(story, (requested("two", "said_2"), "run_2"), (requested("urgent", "said_3", interrupts_run_id=RUN), "run_3"))
    assert list(story.fold.runs) == [RUN, "run_3", "run_2"]
    more(story, e.RunCancelRequested(CancelCause.INTERRUPTED), e.RunCancelled(CancelCause.INTERRUPTED))
    more(story, started(), completed(), run="run_3")
    more(story, started(), completed(), run="run_2")
    assert words(story.fold) == ["one", "urgent", "two"]


def test_what_was_rolled_back_or_superseded_is_no_history() -> None:
    story = tell(requested("one"), started(), said("no"), e.RunCancelRequested(CancelCause.ROLLED_BACK))
    assert words(story.fold) == ["one", "no"]
    more(story, e.RunCancelled(CancelCause.ROLLED_BACK, rolled_back=True))
    assert words(story.fold) == []
    more(story, requested("two", "said_2"), started(), said("bad", "msg_2"), completed(), run="run_2")
    more(story, requested("three", "said_3"), e.RunSuperseded(RunId("run_2")), run="run_3")
    assert words(story.fold) == []
    more(story, started(), said("good", "msg_3"), completed(), run="run_3")
    assert words(story.fold) == ["three", "good"]


def test_a_redacted_message_is_silent_wherever_the_fold_has_it() -> None:
    story = tell(requested("secret"), started(), said("also secret"), completed())
    for message in ("said_1", "msg_1"):
        more(story, e.MessageRedacted(MessageId(message), (1,), "", ADA), run="")
    assert words(story.fold) == ["[redacted]"] * 2 and all(message.redacted for message in story.fold.messages)
    last = story.fold.last_run
    assert last and last.turn.content == REDACTED and last.result and last.result.parts == REDACTED
    tail = encode(ThreadFold(THREAD, history=story.fold.history, last_run=last))
    assert b"secret" not in tail


def test_a_message_that_came_while_the_model_wrote_stands_behind_its_words() -> None:
    steer = e.TurnSteered(RequestId("r"), MessageId("said_2"), (Text("more"),), ADA)
    story = tell(requested(), started(), step(), steer, said("hi"), stepped())
    more(story, e.ToolCallRequested(CallId("c1"), MessageId("msg_1"), "act", "{}"))
    run = story.fold.runs[RUN]
    assert [type(entry) for entry in run.exchange.entries] == [UserSaid, AgentSaid, Called, UserSaid]
    assert run.steered == ["said_2"]
    assert words(story.fold) == ["hello", "more", "hi"], "people see the log's order"
    more(story, step(2, "msg_2"))
    assert run.steered == []


def test_a_step_that_fails_counts_and_one_that_is_lost_does_not() -> None:
    story = tell(
        requested(), started(), step(), stepped(error="no"), step(attempt=2), step(attempt=3), stepped(error="no")
    )
    run = story.fold.runs[RUN]
    assert run.step and (run.step.failures, run.step.completed, run.steps) == (2, False, 1)
    more(story, step(2, "msg_2"))
    assert run.step and run.step.failures == 0


def test_an_answer_that_does_not_fit_is_remembered_until_the_model_has_answered_again() -> None:
    story = tell(requested(), started(), step(), said("x"), stepped(), e.ErrorRecorded("OUTPUT_SCHEMA_MISMATCH", "why"))
    run = story.fold.runs[RUN]
    more(story, step(2, "msg_2"))
    assert (run.mismatches, run.mismatch) == (1, "why"), "an owner that dies here must still be able to say why"
    more(story, said("{}", "msg_2"), stepped(2))
    assert (run.mismatches, run.mismatch) == (1, "")


def test_a_waiting_run_is_woken_by_its_last_answer_and_time_stands_still_meanwhile() -> None:
    story = tell(requested(), started(), asked("i1"), asked("i2"), e.RunWaiting(("i1", "i2")))
    run = story.fold.runs[RUN]
    assert run.state is RunState.WAITING
    worked = run.worked_until(Micros(10**12))
    more(story, e.InputResolved(InputId("i1"), InputState.ANSWERED))
    assert run.state is RunState.WAITING
    more(story, e.InputResolved(InputId("i2"), InputState.TIMED_OUT))
    assert run.state is RunState.QUEUED and run.worked_until(Micros(10**12)) == worked == 3_000_000
    more(story, e.RunResumed(1, 2, WorkerId("w2")))
    assert (run.state, run.fence) == (RunState.RUNNING, 2)
    assert run.worked_until(Micros(story.events[-1].commit_time + 5)) == worked + 5


def test_an_answer_that_came_before_its_question_leaves_nothing_pending() -> None:
    call = e.ToolCallRequested(CallId("c1"), MessageId("m"), "act", "{}")
    sent = e.ToolCallStarted(CallId("c1"), "kit/act", "k", "d", InputId("i1"), 1)
    story = tell(requested(), started(), call, sent)
    run = story.fold.runs[RUN]
    assert run.open_input_ids == {"i1"}
    more(story, e.InputResolved(InputId("i1"), InputState.ANSWERED), asked("i1", "c1", InputKind.EXTERNAL))
    assert not run.inputs and not run.open_input_ids and run.resolutions[InputId("i1")].state is InputState.ANSWERED
    more(story, e.ToolCallCompleted(CallId("c1"), e.ToolCallOutcome.OK, cost=MicroUsd(9)))
    assert not run.open_calls and run.usage == Usage(tool_calls=1, cost=MicroUsd(9))


@pytest.mark.parametrize("scope", list(ApprovalScope))
def test_an_approval_for_the_thread_binds_tool_and_digest(scope: ApprovalScope) -> None:
    question = asked("i1", kind=InputKind.APPROVAL, tool="kit/act", tool_digest="abc")
    answer = InputAnswer(scope=scope)
    story = tell(requested(), started(), question, e.InputResolved(InputId("i1"), InputState.APPROVED, answer, ADA))
    assert story.fold.approved_tools == ({"kit/act": "abc"} if scope is ApprovalScope.THREAD else {})


def test_children_are_open_until_they_end_and_what_they_used_is_charged() -> None:
    story = tell(requested(), started(), e.ChildSpawned(RunId("c"), ThreadId("t2"), GENERAL, Limits(tokens=9)))
    run = story.fold.runs[RUN]
    assert run.children == {"c": Limits(tokens=9)}
    more(story, e.ChildFinished(RunId("c"), RunState.FAILED, Usage(4, 1)))
    assert (run.children, run.usage.tokens, story.fold.usage.tokens) == ({}, 5, 5)


def test_a_plan_is_approved_behind_what_was_said_of_it() -> None:
    proposed = e.PlanProposed(e.Plan(1, "1. Do"), InputId("p1"))
    story = tell(requested(), started(), step(), said("1. Do"), stepped(), proposed, asked("p1", kind=InputKind.PLAN))
    run = story.fold.runs[RUN]
    assert (story.fold.plan, run.plan_input_id, run.plan_approved) == (e.Plan(1, "1. Do"), "p1", False)
    more(story, e.InputResolved(InputId("p1"), InputState.APPROVED), e.PlanApproved(1, ADA))
    assert (run.plan_approved, run.entries_planned, story.fold.approved_plan_version) == (True, 2, 1)


def test_a_fork_begins_with_the_history_and_nothing_else() -> None:
    story = tell(requested(), started(), said("hi"), completed())
    more(story, (requested("open", "said_2"), "run_2"))
    forked = e.ThreadForked(THREAD, 5, b"h" * 32, encode(story.fold), ThreadSettings("Fork"), ADA)
    branch = fold(ThreadFold(ThreadId("t2")), [e.Event(1, RunId(""), Micros(9), forked, b"x" * 32)])
    assert words(branch) == ["hello", "hi"]
    assert (branch.thread_id, branch.settings.title, branch.runs, branch.usage) == ("t2", "Fork", {}, Usage())
    assert branch.forked_from_thread_id == THREAD and all(exchange.inherited for exchange in branch.history)
    assert decode(encode(branch), ThreadId("t2")) == branch


def test_a_summary_covers_what_has_ended_before_it() -> None:
    story = tell(requested(), started(), said("hi"), completed())
    more(story, (requested("two", "said_2"), "run_2"), (started(), "run_2"))
    more(story, e.ContextCompacted("a", "r", "d", "l", 4), run="run_2")
    assert [exchange.summarised for exchange in story.fold.history] == [True, False]


@pytest.mark.parametrize(("summarised", "kept"), [(True, HISTORY_MESSAGES), (False, 2 * HISTORY_MESSAGES)])
def test_the_fold_keeps_what_windows_need_and_longer_what_no_summary_covers(summarised: bool, kept: int) -> None:
    story = tell()
    for number in range(2 * HISTORY_MESSAGES + 10):
        run = f"run_{number}"
        more(story, requested(str(number), f"said_{number}"), started(), run=run)
        if summarised:
            more(story, e.ContextCompacted("a", "r", "d", "l", story.fold.last_sequence - 2), run=run)
        more(story, completed(), run=run)
    assert len(story.fold.messages) == kept
    assert words(story.fold)[-1] == str(2 * HISTORY_MESSAGES + 9)


def test_the_timeline_is_bounded_and_names_every_kind() -> None:
    story = tell(requested(), started())
    for number in range(TIMELINE_LENGTH):
        more(story, e.ToolCallProgressed(CallId("c"), 0.5, f"at {number}"))
    assert len(story.fold.timeline) == TIMELINE_LENGTH
    last = story.fold.timeline[-1]
    assert (last.event, last.summary, last.run_id) == ("tool_call_progressed", f"at {TIMELINE_LENGTH - 1}", RUN)


BLOCK = ('{"id": "a", "n": 1}', '{"id": "b"}')


@pytest.mark.parametrize(
    ("operation", "blocks", "left"),
    [
        (e.UiBlocksOperation.REPLACE, ('{"id": "c"}',), ["c"]),
        (e.UiBlocksOperation.ADD, ('{"id": "c"}',), ["a", "b", "c"]),
        (e.UiBlocksOperation.UPDATE, ('{"id": "b", "n": 2}', '{"id": "x"}'), ["a", "b"]),
        (e.UiBlocksOperation.REMOVE, ('{"id": "a"}',), ["b"]),
        (e.UiBlocksOperation.CLEAR, (), []),
        (e.UiBlocksOperation.ADD, ("not json",), ["a", "b", "not json"]),
    ],
)
def test_blocks_change_by_their_ids(operation: e.UiBlocksOperation, blocks: tuple[str, ...], left: list[str]) -> None:
    story = tell(requested(), started(), e.UiBlocksUpdated(e.UiBlocksOperation.REPLACE, BLOCK))
    more(story, e.UiBlocksUpdated(operation, blocks))
    assert list(story.fold.ui_blocks) == left


@given(st.binary(max_size=40))
def test_bytes_in_messages_survive_the_snapshot(data: bytes) -> None:
    story = tell()
    turn = Turn((InlineData("image/png", data, "x"),))
    more(story, e.TurnRequested(RequestId("r"), MessageId("m"), turn, ADA, RUN), started())
    assert decode(encode(story.fold), THREAD) == story.fold


def test_an_unknown_kind_moves_the_cursor_alone() -> None:
    story = tell(requested(), started())
    before = encode(story.fold)
    more(story, e.Unknown(), run="")
    after = story.fold
    assert after.last_sequence == 4
    changed = decode(before, THREAD)
    changed.last_sequence, changed.head_hash, changed.update_time = (
        after.last_sequence,
        after.head_hash,
        after.update_time,
    )
    changed.timeline = after.timeline
    assert changed == after
