"""What every store keeps when it takes a turn (SEMANTICS 3 to 8, 10, 16, 29)."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import pytest_asyncio

from heddle_core.errors import EtagMismatch, IllegalTransition, InvalidField, RequestIdReused
from heddle_core.ids import PrincipalId, TenantId
from heddle_core.runtime_errors import (
    BudgetExceeded,
    DepthExceeded,
    FanOutExceeded,
    ParentCancelled,
    ParentFinished,
    RunNotFound,
    ThreadBusy,
    ThreadNotFound,
)
from heddle_core.usage import MicroUsd, Usage
from heddle_runtime.facade.commands import Caller, Disposition
from heddle_runtime.runs.content import Actor, Text
from heddle_runtime.runs.inputs import InputKind
from heddle_runtime.runs.run import CancelCause
from heddle_runtime.runs.state import RunState
from heddle_runtime.runs.turn import ConflictPolicy
from heddle_runtime.runs.usage import Limits
from heddle_runtime.threads.events import RunCancelled
from heddle_runtime.threads.fold_codec import encode
from tests.kit.stores import ACME, SHOPS, WORKER, Owner, Shop

BOB = Caller(ACME, Actor(PrincipalId("bob")))
ELSEWHERE = Caller(TenantId("globex"), Actor(PrincipalId("ada")))


@pytest_asyncio.fixture(params=SHOPS)
async def shop(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Shop]:
    async with SHOPS[request.param](tmp_path) as running:
        yield running


async def test_a_repeat_gives_the_first_run_and_another_body_is_refused(shop: Shop) -> None:
    first = await shop.turn(request_id="r1")
    again = await shop.turn(request_id="r1")
    assert (again.disposition, again.run.run_id) == (Disposition.EXISTING, first.run.run_id)
    with pytest.raises(RequestIdReused):
        await shop.turn(request_id="r1", body=b"other")
    assert (await shop.kinds()).count("TurnRequested") == 1


async def test_a_request_id_belongs_to_its_tenant_and_principal(shop: Shop) -> None:
    runs = [(await shop.turn(request_id="r1", caller=caller)).run.run_id for caller in (BOB, ELSEWHERE)]
    runs.append((await shop.turn(request_id="r1")).run.run_id)
    assert len(set(runs)) == 3


async def test_a_free_lane_is_taken_in_the_same_transaction(shop: Shop) -> None:
    accepted = await shop.turn(worker=WORKER)
    assert (accepted.disposition, accepted.claimed) == (Disposition.STARTED, True)
    run = await shop.run(accepted.run.run_id)
    assert (run.state, run.fence, run.attempt, run.owner) == (RunState.RUNNING, 1, 1, WORKER)
    behind = await shop.turn(worker=WORKER)
    assert (behind.disposition, behind.claimed, behind.queue_position) == (Disposition.QUEUED, False, 1)
    assert await shop.row("SELECT lane_run_id FROM threads") == (run.run_id,)


async def test_a_turn_for_later_is_not_taken_at_once_and_not_claimed_before(shop: Shop) -> None:
    later = shop.clock.now() + 1_000_000
    accepted = await shop.turn(worker=WORKER, not_before=later)
    assert not accepted.claimed
    assert await shop.store.claim_any(WORKER, 10) == []
    shop.clock.advance(1.5)
    assert [claim.run_id for claim in await shop.store.claim_any(WORKER, 10)] == [accepted.run.run_id]


async def test_a_later_turn_overtakes_one_that_must_not_start_yet(shop: Shop) -> None:
    await shop.turn(not_before=shop.clock.now() + 1_000_000)
    second = await shop.turn()
    assert [claim.run_id for claim in await shop.store.claim_any(WORKER, 10)] == [second.run.run_id]


async def test_a_missing_thread_is_made_only_where_that_is_wanted(shop: Shop) -> None:
    with pytest.raises(ThreadNotFound):
        await shop.turn(may_create=False)
    with pytest.raises(ThreadNotFound):
        await shop.turn(may_create=False, etag="1")
    with pytest.raises(InvalidField, match="etag: leave it out"):
        await shop.turn(etag="1")
    await shop.turn()
    assert await shop.kinds() == ["ThreadCreated", "TurnRequested"]
    await shop.turn(etag="1")
    with pytest.raises(EtagMismatch):
        await shop.turn(etag="2")


async def test_a_new_thread_takes_the_automatic_title_and_keeps_it(shop: Shop) -> None:
    await shop.turn(title="First")
    await shop.turn(title="Second")
    assert (await shop.fold()).settings.title == "First"
    assert await shop.row("SELECT title, title_is_manual, revision FROM threads") == ("First", 0, 1)


async def test_queued_turns_stand_in_order_and_name_the_inputs_that_block_them(shop: Shop) -> None:
    owner = await shop.owner()
    asked = await owner.ask("q1", "q2")
    second, third = await shop.turn(), await shop.turn()
    assert [second.queue_position, third.queue_position] == [1, 2]
    assert list(second.blocking_input_ids) == asked


async def test_reject_refuses_on_a_busy_thread_and_starts_on_a_free_one(shop: Shop) -> None:
    free = await shop.turn(policy=ConflictPolicy.REJECT)
    with pytest.raises(ThreadBusy):
        await shop.turn(policy=ConflictPolicy.REJECT)
    await shop.work()
    with pytest.raises(ThreadBusy, match=free.run.run_id):
        await shop.turn(policy=ConflictPolicy.REJECT)


@pytest.mark.parametrize(
    ("policy", "cause"),
    [(ConflictPolicy.INTERRUPT, CancelCause.INTERRUPTED), (ConflictPolicy.ROLLBACK, CancelCause.ROLLED_BACK)],
)
async def test_making_way_marks_the_holder_and_comes_before_the_queue(
    shop: Shop, policy: ConflictPolicy, cause: CancelCause
) -> None:
    owner = await shop.owner()
    await owner.ask("q1")
    queued = await shop.turn()
    urgent = await shop.turn(policy=policy)
    assert (urgent.disposition, urgent.queue_position) == (Disposition.QUEUED, 1)
    holder = await shop.run(owner.claim.run_id)
    assert (holder.state, holder.cancel_cause, holder.cancel_sequence > 0) == (RunState.QUEUED, cause, True)
    assert await shop.row("SELECT state FROM inputs") == (7,)
    order = []
    for _ in range(3):
        claim = await shop.store.claim_thread(WORKER, ACME, owner.claim.thread_id)
        assert claim is not None
        order.append(claim.run_id)
        held = Owner(shop, claim)
        if claim.run_id == holder.run_id:
            await held.write(RunCancelled(cause, cause is CancelCause.ROLLED_BACK))
        else:
            await held.begin()
            await held.complete()
    assert order == [holder.run_id, urgent.run.run_id, queued.run.run_id]
    history = [exchange.run_id for exchange in (await shop.fold()).history]
    dropped = [] if policy is ConflictPolicy.INTERRUPT else [holder.run_id]
    assert history == [run_id for run_id in order if run_id not in dropped]


async def test_making_way_reaches_the_holders_children_on_any_thread(shop: Shop) -> None:
    owner = await shop.owner()
    child = await shop.owner("t2", parent=owner.claim.run_id)
    same_thread = (await shop.turn("t1", parent=owner.claim.run_id)).run.run_id
    await shop.turn(policy=ConflictPolicy.INTERRUPT)
    assert (await shop.run(child.claim.run_id)).cancel_cause is CancelCause.PARENT
    assert (await shop.run(same_thread)).state is RunState.CANCELLED
    assert encode(await shop.store.load_fold(ACME, owner.claim.thread_id)) == encode(await shop.fold())


async def test_steering_gives_the_message_to_the_holder_and_maps_the_request_to_it(shop: Shop) -> None:
    owner = await shop.owner()
    steered = await shop.turn(policy=ConflictPolicy.STEER, request_id="s1", text="more")
    assert (steered.disposition, steered.run.run_id) == (Disposition.STEERED, owner.claim.run_id)
    again = await shop.turn(policy=ConflictPolicy.STEER, request_id="s1", text="more")
    assert again.run.run_id == owner.claim.run_id
    assert (await shop.kinds()).count("TurnSteered") == 1
    assert [said.parts for said in (await shop.fold()).messages] == [(Text("hello"),), (Text("more"),)]


async def test_steering_starts_a_run_where_none_is_active_or_it_is_being_cancelled(shop: Shop) -> None:
    first = await shop.turn(policy=ConflictPolicy.STEER)
    assert first.disposition is Disposition.QUEUED
    owner = await shop.work()
    await shop.cancel(owner.claim.run_id)
    assert (await shop.turn(policy=ConflictPolicy.STEER)).disposition is Disposition.QUEUED


async def test_a_child_reserves_its_slice_and_gives_back_what_it_did_not_spend(shop: Shop) -> None:
    parent = await shop.owner(limits=Limits(tokens=1_000, cost=MicroUsd(500)))
    run_id = parent.claim.run_id
    child = await shop.owner("t2", parent=run_id, budget=Limits(tokens=600), limits=Limits(tokens=800))
    assert (await shop.run(child.claim.run_id)).limits.tokens == 600
    assert (await shop.fold("t2")).runs[child.claim.run_id].turn.limits.tokens == 600, "the worker is bound by it too"
    assert await shop.row("SELECT reserved_tokens, reserved_cost FROM runs WHERE run_id = :run", run=run_id) == (
        600,
        500,
    )
    with pytest.raises(BudgetExceeded):
        await shop.turn("t3", parent=run_id, budget=Limits(tokens=401))
    await child.say("hi", Usage(100, 20, model_calls=1, cost=MicroUsd(30)))
    await child.complete()
    reserved = await shop.row(
        "SELECT reserved_tokens, reserved_cost, input_tokens, output_tokens, cost FROM runs WHERE run_id = :run",
        run=run_id,
    )
    assert reserved == (0, 0, 100, 20, 30)
    assert (await shop.fold()).runs[run_id].usage.tokens == 120
    assert not (await shop.fold()).runs[run_id].children
    await shop.turn("t3", parent=run_id, budget=Limits(tokens=880, cost=MicroUsd(470)))


async def test_a_turn_that_steers_reserves_nothing_of_its_parents_budget(shop: Shop) -> None:
    parent = await shop.owner(limits=Limits(tokens=1_000))
    await shop.owner("t2")
    budget = Limits(tokens=900)
    await shop.turn("t2", policy=ConflictPolicy.STEER, parent=parent.claim.run_id, budget=budget)
    row = await shop.row("SELECT reserved_tokens FROM runs WHERE run_id = :run", run=parent.claim.run_id)
    assert row == (0,)


async def test_a_tree_is_bounded_in_depth_and_width(shop: Shop) -> None:
    parent = await shop.owner()
    run_id = parent.claim.run_id
    for depth in range(1, 4):
        child = await shop.owner(f"depth{depth}", parent=run_id)
        run_id = child.claim.run_id
        assert ((await shop.run(run_id)).depth, (await shop.run(run_id)).root_run_id) == (depth, parent.claim.run_id)
    with pytest.raises(DepthExceeded):
        await shop.turn("too_deep", parent=run_id)
    for number in range(7):
        await shop.turn(f"wide{number}", parent=parent.claim.run_id)
    with pytest.raises(FanOutExceeded):
        await shop.turn("too_wide", parent=parent.claim.run_id)


async def test_a_parent_must_live_and_belong_to_the_tenant(shop: Shop) -> None:
    ended = await shop.owner("t1")
    await ended.complete()
    with pytest.raises(ParentFinished):
        await shop.turn("t2", parent=ended.claim.run_id)
    stopped = await shop.owner("t3")
    await shop.cancel(stopped.claim.run_id)
    with pytest.raises(ParentCancelled):
        await shop.turn("t2", parent=stopped.claim.run_id)
    living = await shop.owner("t4")
    with pytest.raises(RunNotFound):
        await shop.turn("t2", parent=living.claim.run_id, caller=ELSEWHERE)
    with pytest.raises(ThreadNotFound):
        await shop.fold("t2")


async def test_a_retry_takes_the_place_of_an_ended_run_once(shop: Shop) -> None:
    owner = await shop.owner()
    with pytest.raises(IllegalTransition, match="RUNNING"):
        await shop.turn(retry_of=owner.claim.run_id)
    await owner.say("bad")
    await owner.fail()
    retry = await shop.turn(retry_of=owner.claim.run_id)
    assert retry.run.retry_of_run_id == owner.claim.run_id
    assert (await shop.run(owner.claim.run_id)).superseded_by_run_id == retry.run.run_id
    with pytest.raises(IllegalTransition, match=retry.run.run_id):
        await shop.turn(retry_of=owner.claim.run_id)
    assert (await shop.fold()).history == []
    await (await shop.work()).complete()
    assert [exchange.run_id for exchange in (await shop.fold()).history] == [retry.run.run_id]


async def test_a_refused_turn_leaves_nothing_behind(shop: Shop) -> None:
    parent = await shop.owner(limits=Limits(tokens=100))
    before = await shop.kinds()
    with pytest.raises(BudgetExceeded):
        await shop.turn("t2", parent=parent.claim.run_id, budget=Limits(tokens=101), request_id="r9")
    assert await shop.kinds() == before
    assert (await shop.turn("t2", request_id="r9")).disposition is Disposition.QUEUED


async def test_a_waiting_holder_keeps_the_lane(shop: Shop) -> None:
    owner = await shop.owner()
    await owner.ask("q1", kind=InputKind.QUESTION)
    await shop.turn()
    assert await shop.store.claim_any(WORKER, 10) == []
