"""What every store keeps when words are redacted and threads deleted (SEMANTICS 33, 35)."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import pytest_asyncio

import heddle_runtime.threads.events as e
from heddle_core.ids import MessageId, RequestId, StepId, ThreadId
from heddle_runtime.facade.commands import ForkThread, RequestKey
from heddle_runtime.facade.retention import RetentionPolicy, Upkeep
from heddle_runtime.facade.thread_commands import DeleteThread
from heddle_runtime.runs.content import Text
from heddle_runtime.runs.run import CancelCause, RunResult
from heddle_runtime.store import deletions
from heddle_runtime.store.retention import LogRetention
from heddle_runtime.store.thread_store import ThreadStore
from heddle_runtime.threads.fold import fold
from heddle_runtime.threads.fold_codec import decode, encode
from heddle_runtime.threads.state import ThreadFold
from tests.kit.log_life import T1, everything, redact, talk, trim, words
from tests.kit.stores import ACME, ADA, LEASE, SHOPS, WORKER, Shop


@pytest_asyncio.fixture(params=SHOPS)
async def shop(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Shop]:
    async with SHOPS[request.param](tmp_path) as running:
        yield running


# --- redaction ---


async def test_a_redaction_reaches_summaries_titles_bases_and_every_fold_in_memory(shop: Shop) -> None:
    owner = await shop.owner(text="secret 4711", title="secret 4711")
    heard = (Text("I heard 4711"),)
    await owner.write(e.ReasoningRecorded(MessageId("msg_1"), "4711?"))
    await owner.write(e.AssistantMessageCompleted(MessageId("msg_1"), heard))
    await owner.write(e.RunCompleted(RunResult(MessageId("msg_1"), heard)))
    last = (await shop.fold()).last_sequence
    owner = await shop.owner(text="and now")
    await owner.write(e.ContextCompacted("none", "they said 4711", "-", "4711", last))
    await owner.complete()
    elsewhere = fold(ThreadFold(T1), await shop.events())
    assert elsewhere.summary is not None and elsewhere.history[0].summarised
    for message_id in ("said_1", "msg_1"):
        await redact(shop, message_id)
    known = elsewhere.last_sequence
    fold(elsewhere, (await shop.events())[known:])
    fresh = await shop.store.load_fold(ACME, T1)
    assert encode(elsewhere) == encode(fresh) == encode(await shop.fold())
    assert b"4711" not in encode(fresh)
    assert fresh.summary is None and not any(exchange.summarised for exchange in fresh.history)
    assert "4711" not in await everything(shop)
    await ThreadStore(shop.store).verify_thread(ACME, T1)


async def test_a_summary_of_earlier_messages_stays_when_a_later_one_is_redacted(shop: Shop) -> None:
    await talk(shop, 1)
    last = (await shop.fold()).last_sequence
    owner = await shop.owner(text="secret")
    await owner.write(e.ContextCompacted("a", "b", "c", "d", last))
    await owner.complete()
    await redact(shop, "said_2")
    assert (await shop.fold()).summary is not None
    await redact(shop, "said_1")
    assert (await shop.fold()).summary is None


async def test_a_message_whose_event_has_gone_is_redacted_in_the_base(shop: Shop) -> None:
    owner = await shop.owner(text="secret 4711", title="secret 4711")
    await owner.complete()
    await talk(shop, 4)
    elsewhere = fold(ThreadFold(T1), await shop.events())
    await trim(shop)
    assert "4711" in await everything(shop)
    await redact(shop, "said_1")
    assert "4711" not in await everything(shop)
    assert (await words(shop))[0] == "[redacted]"
    await ThreadStore(shop.store).verify_thread(ACME, T1)
    known = elsewhere.last_sequence
    fold(elsewhere, await shop.store.read_events(ACME, T1, known, 100))
    assert encode(elsewhere) == encode(await shop.store.load_fold(ACME, T1))


async def test_what_a_fork_has_from_its_source_leaves_its_base_with_the_summary_of_it(
    shop: Shop,
) -> None:
    owner = await shop.owner(text="secret 4711", title="secret 4711")
    await owner.complete()
    last = (await shop.fold()).last_sequence
    owner = await shop.owner(text="next")
    await owner.write(e.ContextCompacted("4711", "4711", "4711", "4711", last))
    await owner.complete()
    key = RequestKey("ForkThread", RequestId("f"), b"")
    await ThreadStore(shop.store).fork_thread(ForkThread(ADA, key, T1, 0, ThreadId("t2"), "A fork"))
    events = await shop.events("t2")
    elsewhere = fold(ThreadFold(ThreadId("t2")), events)
    await redact(shop, "said_1", ThreadId("t2"))
    events = await shop.events("t2")
    assert isinstance(events[0].payload, e.ThreadForked)
    assert b"4711" not in encode(decode(events[0].payload.base, T1))
    fold(elsewhere, events[1:])
    assert encode(elsewhere) == encode(await shop.store.load_fold(ACME, ThreadId("t2")))
    assert b"4711" not in encode(elsewhere)
    assert "4711" in await everything(shop), "the source keeps its own until it is asked, too"


async def test_a_fork_keeps_its_own_title_and_loses_only_one_that_says_the_redacted_words(shop: Shop) -> None:
    owner = await shop.owner(text="secret 4711", title="secret 4711")
    await owner.complete()
    await talk(shop, 1)
    store = ThreadStore(shop.store)
    for fork, title in (("named", "A fork"), ("unnamed", "")):
        key = RequestKey("ForkThread", RequestId(fork), b"")
        await store.fork_thread(ForkThread(ADA, key, T1, 0, ThreadId(fork), title))
    for message_id, titles in (("said_2", ("A fork", "secret 4711")), ("said_1", ("A fork", "[redacted]"))):
        for fork, title in zip(("named", "unnamed"), titles, strict=True):
            thread_id = ThreadId(fork)
            elsewhere = fold(ThreadFold(thread_id), await shop.events(fork))
            await redact(shop, message_id, thread_id)
            fold(elsewhere, (await shop.events(fork))[elsewhere.last_sequence :])
            row = await store.get_thread(ACME, thread_id)
            fresh = await shop.store.load_fold(ACME, thread_id)
            assert (row.settings.title, fresh.settings.title, elsewhere.settings.title) == (title,) * 3


# --- deletion ---


async def test_a_deletion_that_a_crash_cut_short_is_ended_by_a_round(shop: Shop) -> None:
    await talk(shop, 3)
    await shop.store.renew_lease(WORKER, "here", LEASE)
    key = RequestKey("DeleteThread", RequestId("d"), b"")
    command = DeleteThread(ADA, key, T1)
    deleted = await shop.store.write(lambda writer: deletions.delete_thread(writer, command))
    assert (await shop.row("SELECT COUNT(*) FROM events"))[0] == deleted.last_sequence
    await Upkeep(LogRetention(shop.store), WORKER, RetentionPolicy(), Random(1)).round()
    assert (await shop.row("SELECT COUNT(*) FROM events"))[0] == 0
    assert await shop.row("SELECT last_sequence, last_hash, purged, published FROM tombstones") == (
        deleted.last_sequence,
        deleted.last_hash,
        1,
        0,
    )


async def test_of_a_deleted_thread_only_the_tombstone_and_the_keys_of_its_requests_stay(shop: Shop) -> None:
    owner = await shop.owner(text="the words", title="the words")
    await owner.ask("q")
    await shop.resolve("inp_q")
    await shop.cancel(owner.claim.run_id)
    claim = await shop.store.claim_thread(WORKER, ACME, T1)
    assert claim is not None
    await replace(owner, claim=claim, number=0).write(e.RunCancelled(CancelCause.REQUESTED))
    hashes = await shop.store.read(lambda tx: tx.rows("SELECT request_id, fingerprint FROM requests"))
    key = RequestKey("DeleteThread", RequestId("d"), b"")
    await ThreadStore(shop.store).delete_thread(DeleteThread(ADA, key, T1))
    for table in ("threads", "events", "runs", "inputs", "snapshots"):
        assert (await shop.row(f"SELECT COUNT(*) FROM {table}"))[0] == 0, table
    kept = await shop.store.read(lambda tx: tx.rows("SELECT request_id, fingerprint FROM requests"))
    assert set(hashes) < set(kept)
    assert "the words" not in await everything(shop)


async def test_a_long_thread_is_deleted_in_portions(shop: Shop) -> None:
    steps = [e.StepStarted(StepId(f"s{number}"), number, 1, MessageId(f"m{number}")) for number in range(1, 1500)]
    owner = await shop.owner()
    for _ in range(3):
        await owner.write(*steps)
    await owner.complete()
    before = shop.database.statistics.operations
    key = RequestKey("DeleteThread", RequestId("d"), b"")
    await ThreadStore(shop.store).delete_thread(DeleteThread(ADA, key, T1))
    assert (await shop.row("SELECT COUNT(*) FROM events"))[0] == 0
    assert shop.database.statistics.operations - before >= 1 + 3
