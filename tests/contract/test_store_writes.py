"""What every store keeps when workers claim and write, and when runs are stopped (SEMANTICS 7, 11 to 16)."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import pytest_asyncio

import heddle_runtime.threads.events as e
from heddle_core.errors import RequestIdReused
from heddle_core.ids import CallId, InputId, MessageId, RequestId, StepId, ThreadId
from heddle_core.runtime_errors import RequestCancelled, RunNotFound, StaleFence, ThreadNotFound
from heddle_core.usage import MicroUsd, Usage
from heddle_database.port import StatementFailed
from heddle_runtime.facade.commands import RedactMessage, RequestKey
from heddle_runtime.runs.content import Text
from heddle_runtime.runs.run import CancelCause, FailureReason, RunFailure
from heddle_runtime.runs.state import InputState, RunState
from heddle_runtime.runs.turn import ConflictPolicy
from heddle_runtime.store.reads import nearest_snapshot
from heddle_runtime.store.thread_store import ThreadStore
from heddle_runtime.threads.append import Appended, CancelledMeanwhile, Overtaken
from heddle_runtime.threads.fold_codec import encode
from tests.kit.stores import ACME, ADA, GRACE, LEASE, OTHER, SHOPS, WORKER, Owner, Shop

T1 = ThreadId("t1")


@pytest_asyncio.fixture(params=SHOPS)
async def shop(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Shop]:
    async with SHOPS[request.param](tmp_path) as running:
        yield running


def progress(text: str) -> e.ErrorRecorded:
    """A fact that changes nothing."""
    return e.ErrorRecorded("NOTE", text)


# --- claims ---


async def test_a_lane_is_claimed_once_and_in_the_order_of_its_queue(shop: Shop) -> None:
    first, second = await shop.turn(), await shop.turn()
    claim = await shop.store.claim_thread(WORKER, ACME, T1)
    assert claim is not None and (claim.run_id, claim.fence, claim.attempt) == (first.run.run_id, 1, 1)
    assert await shop.store.claim_thread(OTHER, ACME, T1) is None
    assert await shop.store.claim_any(OTHER, 10) == []
    owner = await Owner(shop, claim).begin()
    await owner.complete()
    claims = await shop.store.claim_any(OTHER, 10)
    assert [each.run_id for each in claims] == [second.run.run_id]


async def test_a_second_run_at_work_on_a_thread_is_refused_by_the_database_itself(shop: Shop) -> None:
    owner = await shop.owner()
    await shop.turn()
    for state in (RunState.RUNNING, RunState.WAITING):
        with pytest.raises(StatementFailed, match=r"(?i)unique"):
            await shop.database.write(lambda tx, state=state: tx.run(f"UPDATE runs SET state = {int(state)}"))
    assert (await shop.run(owner.claim.run_id)).state is RunState.RUNNING


async def test_many_threads_are_claimed_oldest_turn_first_within_a_limit(shop: Shop) -> None:
    for number in range(5):
        await shop.turn(f"t{number}")
        shop.clock.advance(1)
    first = await shop.store.claim_any(WORKER, 3)
    assert [claim.thread_id for claim in first] == ["t0", "t1", "t2"]
    rest = await shop.store.claim_any(OTHER, 3)
    assert [claim.thread_id for claim in rest] == ["t3", "t4"]


async def test_a_lost_lease_gives_the_run_to_another_worker_under_a_higher_fence(shop: Shop) -> None:
    await shop.store.renew_lease(WORKER, "here", LEASE)
    await shop.store.renew_lease(OTHER, "there", 10 * LEASE)
    owner = await shop.owner()
    shop.clock.advance(9)
    assert await shop.store.sweep(GRACE) == 0
    shop.clock.advance(2)
    assert await shop.store.sweep(GRACE) == 1
    with pytest.raises(StaleFence):
        await owner.write(progress("late"))
    taken = await shop.store.claim_thread(OTHER, ACME, T1)
    assert taken is not None and (taken.fence, taken.attempt) == (2, 2)
    with pytest.raises(StaleFence):
        await owner.write(progress("later still"))
    heir = await Owner(shop, taken).begin()
    await heir.complete()
    assert (await shop.kinds()).count("RunCompleted") == 1


async def test_a_renewed_lease_keeps_its_runs(shop: Shop) -> None:
    await shop.store.renew_lease(WORKER, "here", LEASE)
    owner = await shop.owner()
    for _ in range(5):
        shop.clock.advance(8)
        await shop.store.renew_lease(WORKER, "here", LEASE)
        assert await shop.store.sweep(GRACE) == 0
    assert isinstance(await owner.complete(), Appended)


async def test_whoever_is_alone_on_the_database_takes_everything_at_once(shop: Shop) -> None:
    await shop.store.renew_lease(WORKER, "here", LEASE)
    await shop.store.renew_lease(OTHER, "there", LEASE)
    owner = await shop.owner()
    assert await shop.store.sweep(GRACE, OTHER) == 1
    with pytest.raises(StaleFence):
        await owner.write(progress("late"))


async def test_a_worker_that_leaves_hands_over_all_it_has(shop: Shop) -> None:
    await shop.store.renew_lease(WORKER, "here", LEASE)
    owners = [await shop.owner(f"t{number}") for number in range(3)]
    await shop.store.release_worker(WORKER)
    assert len(await shop.store.claim_any(OTHER, 10)) == 3
    for owner in owners:
        with pytest.raises(StaleFence):
            await owner.write(progress("late"))


async def test_one_run_can_be_handed_over_by_its_owner_alone(shop: Shop) -> None:
    owner = await shop.owner()
    await shop.store.release_run(owner.claim)
    heir = await shop.work(worker=OTHER)
    await shop.store.release_run(owner.claim)
    assert (await shop.run(heir.claim.run_id)).state is RunState.RUNNING
    assert isinstance(await heir.complete(), Appended)


async def test_a_waiting_run_needs_no_lease_and_goes_on_under_a_new_fence(shop: Shop) -> None:
    await shop.store.renew_lease(WORKER, "here", LEASE)
    owner = await shop.owner()
    asked = await owner.ask("q1")
    shop.clock.advance(3_600)
    await shop.store.sweep(GRACE)
    assert (await shop.run(owner.claim.run_id)).state is RunState.WAITING
    await shop.resolve(asked[0])
    heir = await shop.work(worker=OTHER)
    assert (heir.claim.run_id, heir.claim.fence, heir.claim.attempt) == (owner.claim.run_id, 2, 1)


# --- appends ---


async def test_a_repeated_append_is_found_applied(shop: Shop) -> None:
    owner = await shop.owner()
    known = (await shop.fold()).last_sequence
    first = await owner.write(progress("once"))
    assert isinstance(first, Appended)
    again = await owner.write(progress("once"), number=owner.number, known=known)
    assert isinstance(again, Appended)
    assert [event.sequence for event in again.events] == [event.sequence for event in first.events]
    assert (await shop.kinds()).count("ErrorRecorded") == 1


async def test_a_repeated_terminal_append_is_found_applied(shop: Shop) -> None:
    owner = await shop.owner()
    known = (await shop.fold()).last_sequence
    await owner.complete()
    await shop.turn()
    again = await owner.write(progress("x"), number=owner.number, known=known)
    assert isinstance(again, Appended) and again.events[0].sequence == known + 1
    assert await shop.kinds() == ["ThreadCreated", "TurnRequested", "RunStarted", "RunCompleted", "TurnRequested"]


async def test_nothing_follows_the_end_of_a_run(shop: Shop) -> None:
    owner = await shop.owner()
    await owner.complete()
    for payload in (progress("late"), e.RunCancelled(CancelCause.REQUESTED)):
        with pytest.raises(StaleFence):
            await owner.write(payload)


async def test_a_decisive_append_gives_way_to_what_its_owner_has_not_seen(shop: Shop) -> None:
    owner = await shop.owner()
    known = (await shop.fold()).last_sequence
    await shop.turn(policy=ConflictPolicy.STEER)
    outcome = await owner.write(e.RunWaiting(()), decisive=True, known=known)
    assert isinstance(outcome, Overtaken)
    assert isinstance(await owner.write(progress("not decisive"), known=known), Appended)


async def test_what_happens_to_other_runs_of_the_thread_overtakes_nothing(shop: Shop) -> None:
    owner = await shop.owner()
    known = (await shop.fold()).last_sequence
    await shop.turn()
    outcome = await owner.write(progress("decided"), decisive=True, known=known)
    assert isinstance(outcome, Appended)


async def test_usage_is_charged_to_the_run_as_it_is_written(shop: Shop) -> None:
    owner = await shop.owner()
    await owner.say("hi", Usage(100, 20, 10, 5, 1, 0, MicroUsd(7)))
    await owner.call("c1")
    await owner.write(e.ToolCallCompleted(CallId("c1"), e.ToolCallOutcome.OK, cost=MicroUsd(3)))
    await owner.complete()
    expected = Usage(100, 20, 10, 5, 1, 1, MicroUsd(10))
    assert (await shop.run(owner.claim.run_id)).usage == expected
    assert (await shop.fold()).usage == expected


async def test_an_ended_run_frees_the_lane_and_closes_its_inputs(shop: Shop) -> None:
    owner = await shop.owner()
    asked = shop.input(owner.claim, "q1", 1)
    await owner.write(e.InputRequested(asked))
    await owner.fail()
    assert await shop.row("SELECT lane_run_id FROM threads") == ("",)
    assert await shop.row("SELECT state FROM inputs") == (int(InputState.CANCELLED),)


async def test_a_run_can_fail_with_words_that_no_text_column_takes(shop: Shop) -> None:
    owner = await shop.owner()
    said = "the provider said: \0 500"
    await owner.write(e.RunFailed(RunFailure(FailureReason.MODEL_REFUSED, said)))
    run = await shop.run(owner.claim.run_id)
    assert run.state is RunState.FAILED and run.failure is not None
    assert run.failure.message == "the provider said:  500"
    (ended,) = [each.payload for each in await shop.events() if isinstance(each.payload, e.RunFailed)]
    assert ended.failure.message == said


async def test_one_failing_operation_fails_no_other(shop: Shop) -> None:
    owners = [await shop.owner(f"t{number}") for number in range(6)]
    await shop.store.release_run(owners[2].claim)
    outcomes = await asyncio.gather(*(owner.write(progress("x")) for owner in owners), return_exceptions=True)
    assert [isinstance(outcome, StaleFence) for outcome in outcomes] == [number == 2 for number in range(6)]


# --- cancels ---


async def test_after_a_cancel_only_the_settlement_is_admitted(shop: Shop) -> None:
    owner = await shop.owner()
    await owner.call("c1")
    done = await shop.cancel(owner.claim.run_id)
    step, message = StepId("s"), MessageId("m")
    refused: list[e.Payload] = [
        e.ToolCallStarted(CallId("c2"), "kit/act", "k", "d", InputId("i"), 1),
        e.ToolCallRequested(CallId("c2"), message, "act", "{}"),
        e.ToolCallProgressed(CallId("c1"), 0.5),
        e.StepStarted(step, 1, 1, message),
        e.RunWaiting(()),
        e.RunFailed(e.RunFailure(1, "x")),
        e.InputRequested(shop.input(owner.claim, "q", 1)),
        e.InputResolved(InputId("q"), InputState.ANSWERED),
        e.UiBlocksUpdated(e.UiBlocksOperation.CLEAR),
    ]
    for payload in refused:
        outcome = await owner.write(payload)
        assert outcome == CancelledMeanwhile(done.cancelled[0].cancel_sequence), payload
    admitted = await owner.write(
        e.AssistantMessageCompleted(message, (Text("so far"),), incomplete=True),
        e.StepCompleted(step, 1, "m"),
        e.ToolCallCompleted(CallId("c1"), e.ToolCallOutcome.UNKNOWN),
        e.InputResolved(InputId("q"), InputState.CANCELLED),
        e.RunCancelled(CancelCause.REQUESTED),
    )
    assert isinstance(admitted, Appended)
    assert (await shop.run(owner.claim.run_id)).state is RunState.CANCELLED


async def test_a_queued_run_that_never_started_is_cancelled_at_once(shop: Shop) -> None:
    await shop.owner()
    queued = (await shop.turn()).run.run_id
    done = await shop.cancel(queued)
    assert done.run is not None and done.run.state is RunState.CANCELLED
    assert (await shop.kinds())[-2:] == ["RunCancelRequested", "RunCancelled"]


async def test_an_owner_that_does_not_stop_loses_its_run_after_the_grace(shop: Shop) -> None:
    owner = await shop.owner()
    await shop.store.renew_lease(WORKER, "here", 100 * LEASE)
    await shop.cancel(owner.claim.run_id)
    shop.clock.advance(7)
    assert await shop.store.sweep(GRACE) == 0
    shop.clock.advance(2)
    assert await shop.store.sweep(GRACE) == 1
    with pytest.raises(StaleFence):
        await owner.write(e.RunCancelled(CancelCause.REQUESTED))
    claim = await shop.store.claim_thread(OTHER, ACME, T1)
    assert claim is not None
    assert isinstance(await Owner(shop, claim).write(e.RunCancelled(CancelCause.REQUESTED)), Appended)


async def test_a_cancel_marks_all_that_cascades_through_children_that_have_ended(shop: Shop) -> None:
    root = await shop.owner("t1")
    child = await shop.owner("t2", parent=root.claim.run_id)
    grandchild = await shop.owner("t3", parent=child.claim.run_id)
    free = await shop.owner("t4", parent=root.claim.run_id, cascade=False)
    await child.complete()
    done = await shop.cancel(root.claim.run_id)
    assert [each.run_id for each in done.cancelled] == [root.claim.run_id, grandchild.claim.run_id]
    assert (await shop.run(free.claim.run_id)).cancel_sequence == 0
    assert (await shop.run(child.claim.run_id)).state is RunState.COMPLETED


async def test_a_repeated_cancel_gives_the_first_answer_and_another_body_is_refused(shop: Shop) -> None:
    owner = await shop.owner()
    first = await shop.cancel(request_id="c1", thread_id=T1)
    await owner.write(e.RunCancelled(CancelCause.REQUESTED))
    heir = await shop.owner()
    again = await shop.cancel(request_id="c1", thread_id=T1)
    assert again.cancelled == first.cancelled
    assert (await shop.run(heir.claim.run_id)).cancel_sequence == 0
    with pytest.raises(RequestIdReused):
        await shop.cancel(request_id="c1", thread_id=ThreadId("t2"))


async def test_a_cancel_that_comes_before_its_turn_wins_however_often_it_is_said(shop: Shop) -> None:
    for request_id in ("c1", "c2"):
        done = await shop.cancel(request_id=request_id, turn_request_id=RequestId("r1"))
        assert done.run is None and not done.cancelled
    with pytest.raises(RequestCancelled):
        await shop.turn(request_id="r1")


async def test_what_does_not_exist_is_not_cancelled(shop: Shop) -> None:
    with pytest.raises(RunNotFound):
        await shop.cancel("run_unknown")
    with pytest.raises(ThreadNotFound):
        await shop.cancel(thread_id=ThreadId("t9"))
    owner = await shop.owner()
    done = await shop.cancel("run_unknown", owner.claim.run_id)
    assert done.unknown == ("run_unknown",) and len(done.cancelled) == 1


# --- the log and its folds ---


async def test_a_fold_from_a_stored_snapshot_equals_the_fold_from_the_first_event(shop: Shop) -> None:
    for _ in range(4):
        owner = await shop.owner()
        await owner.say("hi")
        await owner.complete()
    whole = await shop.store.load_fold(ACME, T1)
    half = await shop.store.load_fold(ACME, T1, 9)
    await shop.store.store_snapshot(ACME, half, encode(half))
    stored = await shop.store.read(lambda tx: nearest_snapshot(tx, ACME, T1, 100))
    assert stored is not None and stored.last_sequence == 9
    assert encode(await shop.store.load_fold(ACME, T1)) == encode(whole) == encode(await shop.fold())
    assert await shop.store.last_snapshot(ACME, T1) == 9


async def test_a_snapshot_that_is_late_for_a_redaction_is_not_kept(shop: Shop) -> None:
    owner = await shop.owner(text="secret")
    await owner.complete()
    late = await shop.store.load_fold(ACME, T1)
    key = RequestKey("RedactMessage", RequestId("x1"), b"")
    await ThreadStore(shop.store).redact_message(RedactMessage(ADA, key, T1, MessageId("said_1"), ""))
    await shop.store.store_snapshot(ACME, late, encode(late))
    assert await shop.store.last_snapshot(ACME, T1) == 0
    assert b"secret" not in encode(await shop.store.load_fold(ACME, T1))
    await ThreadStore(shop.store).verify_thread(ACME, T1)
