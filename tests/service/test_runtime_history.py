"""ThreadService over a real store: messages, events, forks, redactions and the verification of the chain."""

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from heddle.runtime.v1 import thread_service_pb2 as pb
from heddle.runtime.v1.thread_pb2 import MessageRole
from heddle_core.clock import Micros
from heddle_core.errors import InvalidField, RequestIdReused
from heddle_core.ids import MessageId, RunId, ThreadId
from heddle_core.runtime_errors import ChainBroken, CursorAhead, ForkNotAtBoundary, MessageNotFound, ThreadNotFound
from heddle_runtime.runs.content import InlineData, Text
from heddle_runtime.runs.run import CancelCause
from heddle_runtime.runs.turn import ConflictPolicy
from heddle_runtime.store.marks import marked_statement
from heddle_runtime.threads.chain import event_hash
from heddle_runtime.threads.events import AssistantMessageCompleted
from heddle_runtime.threads.fold_codec import encode
from tests.kit.runtime_services import ACME, Office, new_id, serving

pytestmark = pytest.mark.timeout(60)


@pytest_asyncio.fixture
async def office(tmp_path: Path) -> AsyncGenerator[Office]:
    async with serving(tmp_path) as running:
        yield running


async def said(office: Office, thread_id: str = "t1", **fields: Any) -> list[str]:
    """The words of all messages, newest first, page by page."""
    words: list[str] = []
    request = pb.ListMessagesRequest(thread_id=thread_id, **fields)
    while True:
        page = await office.stubs.threads.ListMessages(request)
        words += [message.content[0].text for message in page.messages]
        if not page.next_page_token:
            return words
        request.page_token = page.next_page_token


async def fork(office: Office, at: int = 0, source: str = "t1", to: str = "", request_id: str = "") -> Any:
    request = pb.ForkThreadRequest(
        request_id=request_id or new_id(), source_thread_id=source, at_sequence=at, thread_id=to
    )
    return (await office.stubs.threads.ForkThread(request)).thread


async def redact(office: Office, message_id: str, thread_id: str = "t1", request_id: str = "") -> Any:
    return await office.stubs.threads.RedactMessage(
        pb.RedactMessageRequest(
            request_id=request_id or new_id(), thread_id=thread_id, message_id=message_id, note="law"
        )
    )


async def verify(office: Office, thread_id: str = "t1") -> Any:
    return await office.stubs.threads.VerifyThread(pb.VerifyThreadRequest(thread_id=thread_id))


async def snapshot(office: Office, thread_id: str = "t1", at: int = 0) -> None:
    fold = await office.store.load_fold(ACME, ThreadId(thread_id), at)
    await office.store.store_snapshot(ACME, fold, encode(fold))


async def tamper(office: Office, statement: str, **values: object) -> None:
    await office.store.write(lambda writer: writer.tx.run(statement, **values))


async def test_messages_come_newest_first_in_the_order_in_which_their_runs_started(office: Office) -> None:
    await office.turn("t1", "one")
    first = await office.work("t1")
    await office.turn("t1", "two")
    await office.turn("t1", "aside", policy=ConflictPolicy.STEER)
    await first.complete("answer one", "m1")
    second = await office.work("t1")
    await second.complete("answer two", "m2")
    await office.turn("t1", "queued")
    expected = ["answer two", "two", "answer one", "aside", "one"]
    for size in (1, 2, 50):
        assert await said(office, page_size=size) == expected
    fold = await office.store.load_fold(ACME, ThreadId("t1"))
    assert [message.parts[0].text for message in reversed(fold.messages)] == expected
    every = ["queued", "answer two", "answer one", "aside", "two", "one"]
    for size in (1, 4, 50):
        assert await said(office, page_size=size, include_dropped=True) == every
    roles = [m.role for m in (await office.stubs.threads.ListMessages(pb.ListMessagesRequest(thread_id="t1"))).messages]
    user, agent = MessageRole.MESSAGE_ROLE_USER, MessageRole.MESSAGE_ROLE_ASSISTANT
    assert roles == [agent, user, agent, user, user]


async def test_a_run_that_was_claimed_twice_stands_in_the_history_once(office: Office) -> None:
    await office.exchange("t1", "one", "answer one")
    await office.turn("t1", "two")
    lost = await office.work("t1")
    await office.store.release_run(lost.claim)
    again = await office.work("t1")
    await again.complete("answer two", "m2")
    for size in (1, 50):
        assert await said(office, page_size=size) == ["answer two", "two", "answer one", "one"]


async def test_what_was_rolled_back_or_superseded_leaves_the_history_from_then_on(office: Office) -> None:
    await office.exchange("t1", "one", "answer one")
    run = await office.turn("t1", "two")
    work = await office.work("t1")
    before = await work.say("half", "m2")
    await office.turn("t1", "three", policy=ConflictPolicy.ROLLBACK)
    await work.stop(CancelCause.ROLLED_BACK)
    await (await office.work("t1")).complete("answer three", "m3")
    assert await said(office) == ["answer three", "three", "answer one", "one"]
    assert await said(office, at_sequence=before) == ["half", "two", "answer one", "one"]
    assert "half" in await said(office, include_dropped=True)
    fold = await office.store.load_fold(ACME, ThreadId("t1"), before)
    assert [message.parts[0].text for message in reversed(fold.messages)] == await said(office, at_sequence=before)
    assert run.run_id not in [
        exchange.run_id for exchange in (await office.store.load_fold(ACME, ThreadId("t1"))).history
    ]
    with pytest.raises(CursorAhead):
        await said(office, at_sequence=10_000)


async def test_messages_are_read_without_looking_at_the_other_events(office: Office) -> None:
    await office.exchange("t1", "one", "answer")

    def plan(tx: Any) -> str:
        statement = marked_statement("sequence, payload", of_run=False, newest=True)
        place = {"tenant": "acme", "thread": "t1", "kind": 29, "after": 0, "last": 9, "newest": 5}
        return " ".join(str(row) for row in tx.rows(f"EXPLAIN QUERY PLAN {statement}", **place))

    found = await office.store.read(plan)
    assert "COVERING INDEX events_marks" in found
    assert "sequence=?" in found
    assert "TEMP B-TREE" not in found


async def test_events_are_read_in_pages_and_the_raw_bytes_hash_to_the_chain(office: Office) -> None:
    await office.exchange("t1", "one", "answer")
    seen: list[Any] = []
    raw: list[bytes] = []
    cursor = 0
    while True:
        request = pb.ListEventsRequest(thread_id="t1", after_sequence=cursor, page_size=2, include_raw=True)
        page = await office.stubs.threads.ListEvents(request)
        if not page.events:
            break
        seen += page.events
        raw += page.raw_payloads
        cursor = page.next_after_sequence
    assert [event.sequence for event in seen] == list(range(1, len(seen) + 1))
    assert (len(raw), page.last_sequence) == (len(seen), len(seen))
    previous = b"\0" * 32
    for event, stored in zip(seen, raw, strict=True):
        assert event.previous_hash == previous
        number = event.DESCRIPTOR.fields_by_name[event.WhichOneof("payload")].number
        micros = Micros(event.commit_time.seconds * 1_000_000 + event.commit_time.nanos // 1_000)
        digest = hashlib.sha256(stored).digest()
        run_id = RunId(event.run_id)
        previous = event_hash(previous, ACME, ThreadId("t1"), event.sequence, run_id, micros, number, digest)
        assert event.hash == previous


async def test_a_reader_of_one_run_moves_its_cursor_past_what_is_not_shown(office: Office) -> None:
    run = await office.exchange("t1", "one", "answer")
    await office.exchange("t1", "two", "answer")
    page = await office.stubs.threads.ListEvents(pb.ListEventsRequest(thread_id="t1", run_id=run.run_id))
    assert {event.run_id for event in page.events} == {run.run_id}
    assert page.next_after_sequence == page.last_sequence
    for bad in ({"after_sequence": -1}, {"wait_seconds": 61}, {"page_size": 1_001}):
        with pytest.raises(InvalidField):
            await office.stubs.threads.ListEvents(pb.ListEventsRequest(thread_id="t1", **bad))
    with pytest.raises(CursorAhead):
        await office.stubs.threads.ListEvents(pb.ListEventsRequest(thread_id="t1", after_sequence=999))


async def test_a_waiting_reader_gets_the_next_event_as_it_is_committed(office: Office) -> None:
    run = await office.exchange("t1", "one", "answer")
    last = (await office.store.log_bounds(ACME, run.thread_id))[0]
    request = pb.ListEventsRequest(thread_id="t1", after_sequence=last, wait_seconds=30)
    reading = asyncio.ensure_future(office.stubs.threads.ListEvents(request))
    began = time.monotonic()
    held = asyncio.ensure_future(
        office.stubs.threads.ListEvents(pb.ListEventsRequest(thread_id="t1", after_sequence=last, wait_seconds=1))
    )
    assert not (await held).events
    assert time.monotonic() - began >= 0.9
    assert not reading.done()
    await office.turn("t1", "two")
    page = await reading
    assert [event.WhichOneof("payload") for event in page.events] == ["turn_requested"]
    assert time.monotonic() - began < 20


async def test_a_page_of_large_events_is_cut_to_what_a_client_can_take(office: Office) -> None:
    picture = InlineData("image/png", b"x" * 1_000_000)
    run = await office.turn("t1", "see")
    work = await office.work("t1")
    for number in range(4):
        await work.write(AssistantMessageCompleted(MessageId(f"m{number}"), (Text("here"), picture)))
    await work.write(AssistantMessageCompleted(MessageId("huge"), (picture, picture, picture, picture)))
    page = await office.stubs.threads.ListEvents(pb.ListEventsRequest(thread_id="t1", page_size=100))
    assert page.next_after_sequence == page.events[-1].sequence < page.last_sequence
    rest = await office.stubs.threads.ListEvents(
        pb.ListEventsRequest(thread_id="t1", page_size=100, after_sequence=page.last_sequence - 1)
    )
    parts = rest.events[0].assistant_message_completed.content
    assert sum(len(part.inline_data.data) for part in parts) <= 2_621_440
    assert any("the whole stands in event" in part.inline_data.name for part in parts)
    assert run.thread_id == "t1"
    assert len(await said(office)) == 6


async def test_a_fork_begins_with_the_whole_history_and_goes_its_own_way(office: Office) -> None:
    await office.exchange("t1", "one", "answer one")
    first_end = (await office.store.log_bounds(ACME, ThreadId("t1")))[0]
    await office.exchange("t1", "two", "answer two")
    await office.turn("t1", "queued")
    forked = await fork(office, to="t2", request_id="f")
    assert (forked.last_sequence, forked.forked_from_thread_id) == (1, "t1")
    assert await fork(office, to="t2", request_id="f") == forked
    early = await fork(office, at=first_end, to="t3")
    assert await said(office, "t3") == ["answer one", "one"]
    await office.exchange("t2", "three", "answer three")
    whole = ["answer three", "three", "answer two", "two", "answer one", "one"]
    for size in (1, 3, 50):
        assert await said(office, "t2", page_size=size) == whole
        assert await said(office, "t2", page_size=size, include_dropped=True) == whole
    assert await said(office) == whole[2:]
    event = (await office.stubs.threads.ListEvents(pb.ListEventsRequest(thread_id="t2", page_size=1))).events[0]
    source = (await office.stubs.threads.ListEvents(pb.ListEventsRequest(thread_id="t1", page_size=100))).events
    said_of = event.thread_forked
    assert said_of.source_hash == source[said_of.source_sequence - 1].hash
    assert source[said_of.source_sequence - 1].WhichOneof("payload") == "run_completed"
    assert (await verify(office, "t2")).last_sequence > early.last_sequence
    with pytest.raises(RequestIdReused):
        await fork(office, source="t3", to="t2", request_id="f")


async def test_a_fork_inside_a_run_is_refused_with_the_nearest_boundary(office: Office) -> None:
    await office.exchange("t1", "one", "answer one")
    end = (await office.store.log_bounds(ACME, ThreadId("t1")))[0]
    await office.turn("t1", "two")
    work = await office.work("t1")
    await work.say("half", "m")
    for sequence in (end + 1, end + 2, work.known):
        with pytest.raises(ForkNotAtBoundary) as caught:
            await fork(office, at=sequence)
        assert caught.value.nearest == end
    assert (await fork(office, at=end)).last_sequence == 1
    assert (await fork(office)).last_sequence == 1
    with pytest.raises(CursorAhead):
        await fork(office, at=work.known + 1)
    with pytest.raises(ThreadNotFound):
        await fork(office, source="ghost")


async def test_a_redaction_takes_the_words_everywhere_and_leaves_the_chain_whole(office: Office) -> None:
    run = await office.turn("t1", "my secret is 12345", message_id="asked")
    work = await office.work("t1")
    await work.complete("so 12345 is your secret", "answered")
    await snapshot(office)
    await office.store.log.fold(ACME, ThreadId("t1"))
    await redact(office, "asked")
    done = await redact(office, "answered")
    assert (done.message.redacted, done.message.content[0].text) == (True, "[redacted]")

    def everything(tx: Any) -> bytes:
        tables = ("events", "runs", "snapshots", "threads", "requests", "inputs")
        return b"".join(repr(tx.rows(f"SELECT * FROM {table}")).encode() for table in tables)

    assert b"12345" not in await office.store.read(everything)
    assert await said(office) == ["[redacted]", "[redacted]"]
    fold = await office.store.log.fold(ACME, ThreadId("t1"))
    assert b"12345" not in encode(fold)
    verified = await verify(office)
    assert list(verified.redacted_sequences) == [2, 5, 6]
    assert verified.events == verified.last_sequence == done.sequence
    result = (await office.store.get_run(ACME, run.run_id)).result
    assert result is not None and result.parts == (Text("[redacted]"),)


async def test_a_message_is_redacted_once_however_often_it_is_asked_for(office: Office) -> None:
    await office.turn("t1", "secret", message_id="asked")
    first = await redact(office, "asked", request_id="r1")
    assert await redact(office, "asked", request_id="r1") == first
    assert await redact(office, "asked") == first
    assert (await office.store.log_bounds(ACME, ThreadId("t1")))[0] == first.sequence
    with pytest.raises(MessageNotFound):
        await redact(office, "ghost")
    await office.turn("t1", "other", message_id="other")
    with pytest.raises(RequestIdReused):
        await redact(office, "other", request_id="r1")


async def test_what_a_fork_inherited_is_redacted_in_its_base(office: Office) -> None:
    await office.turn("t1", "secret 777", message_id="asked")
    await (await office.work("t1")).complete("fine", "answered")
    await fork(office, to="t2")
    await redact(office, "asked", "t2")
    assert await said(office, "t2") == ["fine", "[redacted]"]
    assert await said(office, "t1") == ["fine", "secret 777"]
    assert list((await verify(office, "t2")).redacted_sequences) == [1]
    fold = await office.store.load_fold(ACME, ThreadId("t2"))
    assert b"777" not in encode(fold).replace(fold.head_hash.hex().encode(), b"")


async def test_a_sound_thread_verifies_with_its_snapshots(office: Office) -> None:
    await office.exchange("t1", "one", "answer")
    await snapshot(office)
    await office.exchange("t1", "two", "answer")
    await snapshot(office)
    done = await verify(office)
    last, _ = await office.store.log_bounds(ACME, ThreadId("t1"))
    assert (done.events, done.last_sequence, done.snapshots) == (last, last, 2)
    assert done.last_hash == (await office.store.load_fold(ACME, ThreadId("t1"))).head_hash
    assert not done.redacted_sequences


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("UPDATE events SET payload = CAST(payload || payload AS BLOB) WHERE sequence = 3", "payload was changed"),
        ("UPDATE events SET run_id = 'other' WHERE sequence = 3", "hash does not follow"),
        ("UPDATE events SET commit_time = commit_time + 1 WHERE sequence = 3", "hash does not follow"),
        ("UPDATE events SET hash = digest WHERE sequence = 3", "hash does not follow"),
        ("DELETE FROM events WHERE sequence = 3", "stands in its place"),
        ("DELETE FROM events WHERE sequence = (SELECT MAX(sequence) FROM events)", "is missing"),
        ("UPDATE threads SET head_hash = zeroblob(32)", "another hash"),
        ("UPDATE snapshots SET hash = zeroblob(32)", "a snapshot carries another hash"),
        (
            "UPDATE snapshots SET body = CAST(REPLACE(CAST(body AS TEXT), 'answer', 'lie') AS BLOB)",
            "not the fold",
        ),
    ],
)
async def test_damage_is_found(office: Office, statement: str, problem: str) -> None:
    await office.exchange("t1", "one", "answer")
    await snapshot(office)
    await verify(office)
    await tamper(office, statement)
    with pytest.raises(ChainBroken, match=problem):
        await verify(office)
