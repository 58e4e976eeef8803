"""A database with a log of every kind of event, as this version writes it: what each later version must read alike.

python -m tests.kit.golden_log VERSION      writes tests/contract/golden_logs/version_VERSION.{dump,json}

A version's files are written once, when its fold version is new, and never again.
"""

import asyncio
import json
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import heddle_runtime.threads.events as e
from heddle_core.ids import CallId, InputId, MessageId, RequestId, StepId, ThreadId
from heddle_core.usage import MicroUsd, Usage
from heddle_database.dump import dump
from heddle_runtime.facade.commands import CreateThread, ForkThread, RedactMessage, RequestKey, UpdateThread
from heddle_runtime.facade.retention import RetentionPolicy
from heddle_runtime.facade.thread_commands import ArchiveThread, DeleteThread
from heddle_runtime.maintenance.databases import own_tables
from heddle_runtime.runs.content import Text
from heddle_runtime.runs.inputs import ApprovalScope, InputAnswer, InputDecision, InputKind
from heddle_runtime.runs.run import CancelCause, FailureReason, RunFailure, RunResult
from heddle_runtime.runs.turn import ConflictPolicy
from heddle_runtime.store.retention import LogRetention
from heddle_runtime.store.store import Store
from heddle_runtime.store.thread_store import ThreadStore
from heddle_runtime.threads.fold_codec import encode
from heddle_runtime.threads.settings import ThreadSettings
from tests.kit.stores import ACME, ADA, LEASE, WORKER, Shop, sqlite_shop

FOLDER = Path(__file__).parents[1] / "contract" / "golden_logs"
USED = Usage(120, 40, 30, 10, 1, 0, MicroUsd(250))


def key(shop: Shop, method: str) -> RequestKey:
    return RequestKey(method, RequestId(shop.new("request")), b"fingerprint")


async def tell(shop: Shop) -> None:
    """Everything that can happen to threads, at least once."""
    await shop.store.renew_lease(WORKER, "127.0.0.1:7233", LEASE)
    await _settings(shop)
    await _work(shop)
    await _children(shop)
    await _ends(shop)
    await _long(shop)
    await ThreadStore(shop.store).delete_thread(DeleteThread(ADA, key(shop, "DeleteThread"), ThreadId("gone")))
    owner = await shop.owner("open", text="noch eine Frage?")
    await owner.ask("open", kind=InputKind.APPROVAL)
    await shop.turn("open", "wartet")


async def expected(store: Store) -> dict[str, dict[str, Any]]:
    """The folds of all threads by their ids: at their end, and at every twentieth event that is kept."""
    rows = await store.read(lambda tx: tx.rows("SELECT thread_id, first_sequence, last_sequence FROM threads"))
    folds: dict[str, dict[str, Any]] = {}
    for thread_id, first, last in sorted(rows):
        places = sorted({last, *range(max(20, first - 1), last, 20)})
        folds[thread_id] = {
            str(place): json.loads(encode(await store.load_fold(ACME, ThreadId(thread_id), place))) for place in places
        }
    return folds


async def _settings(shop: Shop) -> None:
    threads = ThreadStore(shop.store)
    settings = ThreadSettings("Titel", {"team": "a"}, False, "writer", "m", "Be brief.", '{"n":1}')
    await threads.create_thread(CreateThread(ADA, key(shop, "CreateThread"), ThreadId("made"), settings))
    await threads.create_thread(CreateThread(ADA, key(shop, "CreateThread"), ThreadId("gone"), ThreadSettings()))
    shop.clock.advance(1)
    changed = ThreadSettings("Neuer Titel", {"team": "b"}, True, "writer", "m2", "", '{"n":2}')
    fields = ("title", "labels", "pinned", "model", "instructions", "context_json")
    await threads.update_thread(UpdateThread(ADA, key(shop, "UpdateThread"), ThreadId("made"), changed, fields))
    for archived in (True, False, True):
        command = ArchiveThread(ADA, key(shop, "ArchiveThread"), ThreadId("made"), archived)
        await threads.archive_thread(command)


async def _work(shop: Shop) -> None:
    """One run with tools, questions, a plan, steering, and an answer; then a fork of it, and a redaction."""
    owner = await shop.owner("work", text="Plane einen Beitrag 🌦", title="Plane einen Beitrag 🌦")
    step, message, call = StepId("s1"), MessageId("m1"), CallId("c1")
    await owner.write(
        e.StepStarted(step, 1, 1, message, model="m"),
        e.ReasoningRecorded(message, "hm"),
        e.AssistantMessageCompleted(message, (Text("Ich sehe nach."),)),
        e.ToolCallRequested(call, message, "kit__look", '{"q":"schuhe"}'),
        e.StepCompleted(step, 1, "m-2026", USED),
    )
    await shop.turn("work", "und kurz, bitte", policy=ConflictPolicy.STEER)
    minted = InputId("inp_minted")
    terms = e.ToolTerms(risk=2, idempotent=True, deadline=timedelta(seconds=30), price=MicroUsd(10))
    await owner.write(
        e.ToolCallStarted(call, "kit/look", "key:c1", "sha256:0", minted, owner.claim.fence, terms=terms),
        e.ToolCallProgressed(call, 0.5, "halb"),
        e.WorkUpdated("w1", "in Arbeit", 0.5),
        e.ToolCallCompleted(call, e.ToolCallOutcome.OK, (Text("drei Paar"),), MicroUsd(10), ("buy",)),
        e.UiBlocksUpdated(e.UiBlocksOperation.REPLACE, ('{"id":"b1","kind":"card"}',)),
        e.StepStarted(StepId("s2"), 2, 1, MessageId("m2")),
        e.StepCompleted(StepId("s2"), 1, "m-2026", USED, error="overloaded"),
        e.StepStarted(StepId("s2"), 2, 2, MessageId("m3"), discards_message_id=MessageId("m2")),
        e.PlanProposed(e.Plan(1, "# Plan"), InputId("inp_plan")),
        e.PlanRevised(e.Plan(2, "# Plan, besser"), InputId("inp_plan")),
        e.PlanApproved(2, ADA.actor),
    )
    await owner.ask("question")
    shop.clock.advance(30)
    await shop.resolve("inp_question", "Ja")
    owner = await shop.work("work")
    approval = shop.input(owner.claim, "approval", InputKind.APPROVAL, tool="kit/buy", tool_digest="d1")
    await owner.write(e.InputRequested(approval), e.RunWaiting((approval.input_id,)))
    answer = InputAnswer(decision=InputDecision.APPROVE, scope=ApprovalScope.THREAD)
    await shop.resolve("inp_approval", answer=answer)
    owner = await shop.work("work")
    said = (Text("Fertig: Grüße aus Köln."),)
    await owner.write(
        e.BudgetExceeded("tokens", "100", "160"),
        e.ErrorRecorded("OUTPUT_SCHEMA_MISMATCH", "not an object"),
        e.AssistantMessageCompleted(MessageId("m3"), said),
        e.StepCompleted(StepId("s2"), 2, "m-2026", USED),
        e.RunCompleted(RunResult(MessageId("m3"), said, '{"ok":true}', usage=USED)),
    )
    fork = ForkThread(ADA, key(shop, "ForkThread"), ThreadId("work"), 0, ThreadId("fork"), "Anders")
    await ThreadStore(shop.store).fork_thread(fork)
    await (await shop.owner("fork", text="weiter")).complete("gut")
    redact = RedactMessage(ADA, key(shop, "RedactMessage"), ThreadId("work"), MessageId("m3"), "privat")
    await ThreadStore(shop.store).redact_message(redact)


async def _children(shop: Shop) -> None:
    parent = await shop.owner("parent", text="delegiere")
    child = await shop.owner("child", text="tu es", parent=parent.claim.run_id)
    await child.say("getan", USED)
    await child.complete("getan")
    await parent.complete("beide fertig")


async def _ends(shop: Shop) -> None:
    """Failed and retried, cancelled, interrupted and rolled back, lost and taken over."""
    failed = await shop.owner("ends", text="eins")
    await failed.write(e.RunFailed(RunFailure(FailureReason.INTERNAL, "kaputt"), USED))
    again = await shop.owner("ends", text="eins", retry_of=failed.claim.run_id)
    await again.say("jetzt", USED)
    await again.complete("jetzt")
    cancelled = await shop.owner("ends", text="zwei")
    await shop.cancel(cancelled.claim.run_id)
    half = e.AssistantMessageCompleted(MessageId("m9"), (Text("hal"),), incomplete=True)
    await cancelled.write(half, e.RunCancelled(CancelCause.REQUESTED, usage=USED))
    dropped = await shop.owner("ends", text="drei")
    await shop.turn("ends", "vier", policy=ConflictPolicy.ROLLBACK)
    await dropped.write(e.RunCancelled(CancelCause.ROLLED_BACK, rolled_back=True))
    lost = await shop.work("ends")
    await lost.write(e.StepStarted(StepId("s3"), 1, 1, MessageId("m10")))
    await shop.store.release_run(lost.claim)
    heir = await shop.work("ends")
    await heir.complete("vier")


async def _long(shop: Shop) -> None:
    """Summarised, snapshotted, and trimmed by retention."""
    for number in range(12):
        owner = await shop.owner("long", text=f"Frage {number}")
        await owner.say(f"Antwort {number}", USED)
        if number == 8:
            through = (await shop.fold("long")).history[5].last_sequence
            await owner.write(e.ContextCompacted("das Werk", "- kurz", "- ja", "- Frage 0", through))
        await owner.complete(f"Antwort {number}")
        shop.clock.advance(60)
    await LogRetention(shop.store).trim(RetentionPolicy(keep_events=40, least=1), ACME, ThreadId("long"))
    for thread_id in ("work", "ends", "long"):
        state = await shop.store.load_fold(ACME, ThreadId(thread_id))
        await shop.store.store_snapshot(ACME, state, encode(state))


async def write(version: str) -> None:
    """Write the files of a version."""
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        async with sqlite_shop(Path(folder)) as shop:
            await tell(shop)
            folds = await expected(shop.store)
            await dump(shop.database, FOLDER / f"version_{version}.dump", await own_tables())
    lines = [
        f"{json.dumps(each)}:{json.dumps(told, ensure_ascii=False, sort_keys=True)}" for each, told in folds.items()
    ]
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    (FOLDER / f"version_{version}.json").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    asyncio.run(write(sys.argv[1]))
