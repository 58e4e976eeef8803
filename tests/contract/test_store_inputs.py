"""What every store keeps when inputs are answered (SEMANTICS 9, 26, promise P14)."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import pytest_asyncio

import heddle_runtime.threads.events as e
from heddle_core.clock import Micros
from heddle_core.errors import RequestIdReused
from heddle_core.ids import CallId, InputId, PrincipalId, RequestId, TenantId
from heddle_core.runtime_errors import InputAlreadyResolved, InputExpired, InputNotFound
from heddle_runtime.facade.commands import Caller, RequestKey, ResolveInput
from heddle_runtime.runs.content import Actor
from heddle_runtime.runs.inputs import InputAnswer, InputDecision, InputKind, InputProgress, InputRequest
from heddle_runtime.runs.state import InputState, RunState
from heddle_runtime.threads.fold_codec import encode
from tests.kit.stores import ACME, ADA, GRACE, SHOPS, Owner, Shop

BOB = Caller(ACME, Actor(PrincipalId("bob")))


@pytest_asyncio.fixture(params=SHOPS)
async def shop(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Shop]:
    async with SHOPS[request.param](tmp_path) as running:
        yield running


async def waiting(shop: Shop, *names: str, **fields: object) -> Owner:
    owner = await shop.owner()
    await owner.ask(*names, **fields)
    return owner


async def test_the_last_answer_queues_the_run_again(shop: Shop) -> None:
    owner = await waiting(shop, "q1", "q2")
    first = await shop.resolve("inp_q1")
    assert (first.run.state, first.input.state) == (RunState.WAITING, InputState.ANSWERED)
    second = await shop.resolve("inp_q2")
    assert second.run.state is RunState.QUEUED
    assert (await shop.fold()).runs[owner.claim.run_id].state is RunState.QUEUED


async def test_fifty_answers_at_once_have_exactly_one_winner(shop: Shop) -> None:
    await waiting(shop, "q1")
    answers = [shop.resolve("inp_q1", str(number), caller=ADA if number % 2 else BOB) for number in range(50)]
    outcomes = await asyncio.gather(*answers, return_exceptions=True)
    won = [each for each in outcomes if not isinstance(each, BaseException)]
    assert len(won) == 1
    assert sum(isinstance(each, InputAlreadyResolved) for each in outcomes) == 49
    resolved = [event.payload for event in await shop.events() if isinstance(event.payload, e.InputResolved)]
    assert [each.answer for each in resolved] == [won[0].input.answer]


async def test_a_repeat_of_the_winning_answer_is_a_success_for_the_winner_alone(shop: Shop) -> None:
    await waiting(shop, "q1")
    first = await shop.resolve("inp_q1", "blue", request_id="a1")
    assert (await shop.resolve("inp_q1", "blue", request_id="a1")).input == first.input
    assert (await shop.resolve("inp_q1", "blue", request_id="a2")).input.answer == first.input.answer
    with pytest.raises(RequestIdReused):
        await shop.resolve("inp_q1", "red", request_id="a1")
    with pytest.raises(InputAlreadyResolved, match="ada"):
        await shop.resolve("inp_q1", "red")
    with pytest.raises(InputAlreadyResolved):
        await shop.resolve("inp_q1", "blue", caller=BOB)
    assert (await shop.kinds()).count("InputResolved") == 1


async def test_a_foreign_input_is_as_unknown_as_one_that_never_was(shop: Shop) -> None:
    await waiting(shop, "q1")
    foreign = Caller(TenantId("globex"), Actor(PrincipalId("ada")))
    told = []
    for input_id, caller in (("inp_q1", foreign), ("inp_no", ADA)):
        with pytest.raises(InputNotFound) as caught:
            await shop.resolve(input_id, caller=caller)
        told.append(str(caught.value).replace(input_id, "ID"))
    assert told[0] == told[1]


async def test_an_answer_that_comes_too_late_is_refused_before_the_sweep_and_after(shop: Shop) -> None:
    expires = Micros(shop.clock.now() + 5_000_000)
    owner = await waiting(shop, "q1", expire_time=expires, default_state=InputState.DENIED, kind=InputKind.APPROVAL)
    shop.clock.advance(5)
    with pytest.raises(InputExpired):
        await shop.resolve("inp_q1", answer=InputAnswer(InputDecision.APPROVE))
    assert await shop.store.sweep(GRACE) == 1
    with pytest.raises(InputExpired):
        await shop.resolve("inp_q1", answer=InputAnswer(InputDecision.APPROVE))
    run = (await shop.fold()).runs[owner.claim.run_id]
    assert run.resolutions[InputId("inp_q1")].state is InputState.TIMED_OUT, "a timeout is never a denial"
    assert (await shop.run(owner.claim.run_id)).state is RunState.QUEUED
    assert await shop.store.sweep(GRACE) == 0


async def test_an_input_without_an_expiry_waits_for_ever(shop: Shop) -> None:
    await waiting(shop, "q1")
    shop.clock.advance(10**9)
    assert await shop.store.sweep(GRACE) == 0
    await shop.resolve("inp_q1")


async def test_a_minted_input_can_be_answered_before_it_is_asked(shop: Shop) -> None:
    owner = await shop.owner()
    minted = await owner.call("c1")
    claim = owner.claim
    reserved = InputRequest(
        minted, claim.thread_id, claim.run_id, InputKind.EXTERNAL, InputState.RESERVED, CallId("c1")
    )
    early = await shop.resolve(minted, "early", reserved=reserved)
    assert early.input.state is InputState.ANSWERED
    asked = InputRequest(minted, claim.thread_id, claim.run_id, InputKind.EXTERNAL, InputState.PENDING, CallId("c1"))
    await owner.write(e.InputRequested(asked))
    assert await shop.row("SELECT state, winner FROM inputs") == (int(InputState.ANSWERED), "ada")
    run = (await shop.fold()).runs[claim.run_id]
    assert not run.inputs and run.resolutions[minted].answer == InputAnswer(text="early")
    with pytest.raises(InputAlreadyResolved):
        await shop.resolve(minted, "late")


async def test_progress_is_noted_and_resolves_nothing(shop: Shop) -> None:
    owner = await waiting(shop, "q1")
    report = ResolveInput(
        ADA, RequestKey("ResolveInput", RequestId("p1"), b""), InputId("inp_q1"), progress=InputProgress(0.5, "half")
    )
    assert (await shop.store.resolve_input(report)).input.state is InputState.PENDING
    await shop.store.resolve_input(report)
    assert (await shop.kinds()).count("WorkUpdated") == 1
    assert (await shop.run(owner.claim.run_id)).state is RunState.WAITING


async def test_a_cancel_wins_over_every_later_answer(shop: Shop) -> None:
    owner = await waiting(shop, "q1")
    await shop.cancel(owner.claim.run_id)
    with pytest.raises(InputAlreadyResolved, match="CANCELLED"):
        await shop.resolve("inp_q1")


async def test_an_approved_plan_is_written_with_its_approval(shop: Shop) -> None:
    owner = await shop.owner()
    await owner.write(e.PlanProposed(e.Plan(3, "1. Do it"), InputId("inp_p1")))
    await owner.ask("p1", kind=InputKind.PLAN)
    await shop.resolve("inp_p1", answer=InputAnswer(InputDecision.APPROVE, plan_version=3))
    assert (await shop.kinds())[-2:] == ["InputResolved", "PlanApproved"]
    assert (await shop.fold()).approved_plan_version == 3
    assert encode(await shop.store.load_fold(ACME, owner.claim.thread_id)) == encode(await shop.fold())
