"""Sixty-four writers on eight threads of conversation, and what a reader who knows nothing of us finds afterwards."""

import asyncio
import hashlib
import random
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

import heddle_runtime.threads.events as e
from heddle.runtime.v1.event_pb2 import ThreadEvent
from heddle_core.errors import IllegalTransition
from heddle_core.faults import HeddleError
from heddle_core.ids import CallId, InputId, MessageId, RunId, StepId, ThreadId, WorkerId
from heddle_core.runtime_errors import InputAlreadyResolved, StaleFence, ThreadBusy
from heddle_core.usage import Usage
from heddle_runtime.runs.claim import Claim
from heddle_runtime.runs.content import Text
from heddle_runtime.runs.inputs import InputKind
from heddle_runtime.runs.run import CancelCause, RunResult
from heddle_runtime.runs.turn import ConflictPolicy
from heddle_runtime.threads.append import Appended, CancelledMeanwhile
from heddle_runtime.threads.fold_codec import encode
from tests.kit.stores import ACME, GRACE, SHOPS, Owner, Shop

THREADS = [ThreadId(f"t{number}") for number in range(8)]
TERMINAL = {"run_completed", "run_failed", "run_cancelled"}
REFUSED = (StaleFence, ThreadBusy, InputAlreadyResolved, IllegalTransition)


@pytest_asyncio.fixture(params=SHOPS)
async def shop(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Shop]:
    async with SHOPS[request.param](tmp_path) as running:
        yield running


async def caller(shop: Shop, dice: random.Random, runs: list[RunId]) -> None:
    """Starts, interrupts, steers, cancels and answers."""
    for _ in range(12):
        thread_id = dice.choice(THREADS)
        try:
            match dice.randrange(6):
                case 0 | 1 | 2:
                    policy = dice.choice(list(ConflictPolicy)[1:])
                    worker = WorkerId("wrk_front") if dice.random() < 0.3 else WorkerId("")
                    accepted = await shop.turn(thread_id, policy=policy, worker=worker)
                    runs.append(accepted.run.run_id)
                    if accepted.claimed:
                        claim_of = await shop.run(accepted.run.run_id)
                        await shop.store.release_run(
                            Claim(ACME, thread_id, accepted.run.run_id, worker, claim_of.fence, claim_of.attempt)
                        )
                case 3 if runs:
                    await shop.cancel(dice.choice(runs))
                case 4 if runs:
                    await shop.resolve(f"inp_{dice.choice(runs)}", dice.choice(["yes", "no"]))
                case _:
                    await shop.store.sweep(GRACE)
        except (*REFUSED, HeddleError) as error:
            assert error.reason in {
                "STALE_FENCE",
                "THREAD_BUSY",
                "INPUT_ALREADY_RESOLVED",
                "INPUT_NOT_FOUND",
                "ILLEGAL_TRANSITION",
            }, error


async def worker(shop: Shop, dice: random.Random, worker_id: WorkerId, enough: asyncio.Event) -> None:
    """Claims what it can get, and works on it as an orchestrator would, or drops it."""
    await shop.store.renew_lease(worker_id, "", 10**12)
    while True:
        claims = await shop.store.claim_any(worker_id, 1)
        if not claims:
            if enough.is_set():
                return
            await asyncio.sleep(0)
            continue
        with suppress(StaleFence):
            await work_on(Owner(shop, claims[0]), dice)


async def work_on(owner: Owner, dice: random.Random) -> None:
    claim, shop = owner.claim, owner.shop
    run = (await shop.fold(claim.thread_id)).runs[claim.run_id]
    if not run.cancel_sequence:
        await owner.begin()
        message, step = MessageId(shop.new("msg")), StepId(shop.new("step"))
        call = CallId(shop.new("call"))
        await owner.write(e.StepStarted(step, run.steps + 1, 1, message))
        if dice.random() < 0.2:
            await shop.store.release_run(claim)
            return
        started = await owner.write(
            e.StepCompleted(step, 1, "m", Usage(3, 2, model_calls=1)),
            e.ToolCallRequested(call, message, "act", "{}"),
            e.ToolCallStarted(call, "kit/act", call, "d", InputId(f"min_{call}"), claim.fence),
        )
        if isinstance(started, Appended):
            await owner.write(e.ToolCallCompleted(call, e.ToolCallOutcome.OK))
        asked = shop.input(claim, claim.run_id, InputKind.QUESTION)
        run = (await shop.fold(claim.thread_id)).runs[claim.run_id]
        if dice.random() < 0.4 and asked.input_id not in run.resolutions:
            outcome = await owner.write(e.InputRequested(asked), e.RunWaiting((asked.input_id,)), decisive=True)
            if isinstance(outcome, Appended):
                return
        said = e.AssistantMessageCompleted(message, (Text("hi"),))
        ended = await owner.write(said, e.RunCompleted(RunResult(message, (Text("hi"),))))
        if not isinstance(ended, CancelledMeanwhile):
            return
    run = (await shop.fold(claim.thread_id)).runs[claim.run_id]
    closing = [e.ToolCallCompleted(open_call.call_id, e.ToolCallOutcome.UNKNOWN) for open_call in run.open_calls]
    await owner.write(*closing, e.RunCancelled(run.cancel_cause, run.cancel_cause is CancelCause.ROLLED_BACK))


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.timeout(110)
async def test_sixty_four_writers_keep_every_promise(shop: Shop, seed: int) -> None:
    dice = random.Random(seed)
    runs: list[RunId] = []
    enough = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        for number in range(16):
            tasks.create_task(worker(shop, random.Random(seed * 100 + number), WorkerId(f"wrk_{number}"), enough))
        async with asyncio.TaskGroup() as callers:
            for number in range(48):
                callers.create_task(caller(shop, random.Random(seed * 1000 + number), runs))
        for run_id in dict.fromkeys(runs):
            if (await shop.run(run_id)).state < 4 and dice.random() < 0.5:
                await shop.cancel(run_id)
        await answer_everything(shop)
        enough.set()
    for _ in range(20):  # each run asks at most once more, so that this comes to its end
        await answer_everything(shop)
        await shop.store.sweep(GRACE)
        await worker(shop, dice, WorkerId("wrk_last"), enough)
    assert len(set(runs)) > 100
    for thread_id in THREADS:
        assert encode(await shop.store.load_fold(ACME, thread_id)) == encode(await shop.fold(thread_id))
    await shop.database.close()
    await check(shop)


async def answer_everything(shop: Shop) -> None:
    rows = await shop.store.read(lambda tx: tx.rows("SELECT input_id FROM inputs WHERE state = 2"))
    for (input_id,) in rows:
        try:
            await shop.resolve(input_id, "late")
        except InputAlreadyResolved:
            continue


async def check(shop: Shop) -> None:
    """The promises, from the rows alone: nothing of the project but its contract is used here."""
    events = defaultdict(list)
    for row in await shop.look(
        "SELECT thread_id, sequence, run_id, commit_time, kind, payload, digest, hash FROM events"
        " ORDER BY thread_id, sequence"
    ):
        events[row[0]].append(row[1:])
    threads = await shop.look("SELECT thread_id, last_sequence, head_hash, lane_run_id FROM threads")
    heads = {row[0]: row[1:] for row in threads}
    states = dict(await shop.look("SELECT run_id, state FROM runs"))
    cancels = dict(await shop.look("SELECT run_id, cancel_sequence FROM runs WHERE cancel_sequence > 0"))
    rows = await shop.look("SELECT input_id, state FROM inputs")
    tokens = dict(await shop.look("SELECT run_id, input_tokens + output_tokens FROM runs"))
    spent: dict[str, int] = defaultdict(int)
    for thread_id, log in events.items():
        check_chain(thread_id, log, heads[thread_id])
        check_runs(log, states, cancels, spent)
        assert heads[thread_id][2] == "", "the lane is free when nothing runs"
    assert all(state >= 4 for state in states.values()), "every run has ended"
    assert {run: tokens[run] for run in tokens} == {run: spent[run] for run in tokens}
    assert all(state >= 3 for _, state in rows), "every input is closed"


def check_chain(thread_id: str, log: list[Any], head: Any) -> None:
    previous = bytes(32)
    for expected, (sequence, run_id, time, kind, payload, digest, stored) in enumerate(log, 1):
        assert sequence == expected
        assert hashlib.sha256(payload).digest() == digest
        texts = b"".join(len(t.encode()).to_bytes(4, "big") + t.encode() for t in ("acme", thread_id, run_id))
        numbers = b"".join(n.to_bytes(8, "big") for n in (sequence, time, kind))
        previous = hashlib.sha256(previous + texts + numbers + digest).digest()
        assert previous == stored
    assert head[:2] == (len(log), previous)


def check_runs(log: list[Any], states: dict[str, int], cancels: dict[str, int], spent: dict[str, int]) -> None:
    active, ended, fences = "", set[str](), defaultdict[str, int](int)
    open_calls: dict[str, set[str]] = defaultdict(set)
    resolved: set[str] = set()
    for sequence, run_id, _time, _kind, payload, _digest, _hash in log:
        event = ThreadEvent.FromString(payload)
        case = str(event.WhichOneof("payload"))
        if not run_id:
            continue
        assert run_id not in ended, f"{case} behind the end of {run_id}"
        match case:
            case "run_started" | "run_resumed":
                assert active in ("", run_id), "one run is active at a time"
                active = run_id
                fence = getattr(event, case).fence
                assert fence > fences[run_id]
                fences[run_id] = fence
            case "tool_call_requested":
                open_calls[run_id].add(event.tool_call_requested.call_id)
            case "tool_call_started":
                assert run_id not in cancels or sequence < cancels[run_id], "a call starts behind its fence"
                assert event.tool_call_started.fence == fences[run_id], "an event of a stale owner"
            case "tool_call_completed":
                open_calls[run_id].remove(event.tool_call_completed.call_id)
            case "step_started":
                assert not open_calls[run_id], "the model is asked while a call is open"
            case "step_completed":
                spent[run_id] += event.step_completed.usage.input_tokens + event.step_completed.usage.output_tokens
            case "input_resolved":
                assert event.input_resolved.input_id not in resolved
                resolved.add(event.input_resolved.input_id)
            case ended_by if ended_by in TERMINAL:
                assert not open_calls[run_id], "a call without a result"
                ended.add(run_id)
                active = "" if active == run_id else active
            case _:
                pass
    assert ended == {run_id for run_id in {row[1] for row in log if row[1]} if states[run_id] >= 4}
