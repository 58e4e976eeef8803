"""Callers of a thread whose old events have gone: what they are told, and that they can go on."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import pytest_asyncio

import heddle.runtime.v1.thread_service_pb2 as pb
from heddle.runtime.v1.run_service_pb2 import GetRunRequest, RetryRunRequest
from heddle_core.errors import IllegalTransition
from heddle_core.ids import ThreadId
from heddle_core.runtime_errors import CursorTooOld
from heddle_runtime.facade.retention import RetentionPolicy
from heddle_runtime.store.retention import LogRetention
from tests.kit.runtime_services import ACME, Office, new_id, serving

KEEP_ONE = RetentionPolicy(keep_events=1, least=1)


@pytest_asyncio.fixture
async def office(tmp_path: Path) -> AsyncGenerator[Office]:
    async with serving(tmp_path) as running:
        yield running


async def test_what_has_gone_is_told_and_what_is_kept_is_served(office: Office) -> None:
    old = await office.turn("t1", "one")
    await (await office.work("t1")).complete("answer one", "m1")
    await office.exchange("t1", "two", "answer two")
    await office.exchange("t1", "three", "answer three")
    assert await LogRetention(office.store).trim(KEEP_ONE, ACME, ThreadId("t1")) > 0
    threads = office.stubs.threads
    thread = (await threads.GetThread(pb.GetThreadRequest(thread_id="t1"))).thread
    assert 1 < thread.first_sequence <= thread.last_sequence
    with pytest.raises(CursorTooOld) as told:
        await threads.ListEvents(pb.ListEventsRequest(thread_id="t1"))
    assert told.value.first == thread.first_sequence
    with pytest.raises(CursorTooOld):
        await anext(aiter(threads.WatchThread(pb.WatchThreadRequest(thread_id="t1"))))
    after = thread.first_sequence - 1
    page = await threads.ListEvents(pb.ListEventsRequest(thread_id="t1", after_sequence=after))
    assert [event.sequence for event in page.events] == list(range(after + 1, thread.last_sequence + 1))
    watched = aiter(threads.WatchThread(pb.WatchThreadRequest(thread_id="t1", after_sequence=after)))
    assert (await anext(watched)).frame.opened.head_sequence == thread.last_sequence
    said = await threads.ListMessages(pb.ListMessagesRequest(thread_id="t1"))
    assert [message.content[0].text for message in said.messages][-2:] == ["answer one", "one"]
    assert (await threads.VerifyThread(pb.VerifyThreadRequest(thread_id="t1"))).last_hash
    assert (await office.stubs.runs.GetRun(GetRunRequest(run_id=old.run_id))).run.run_id == old.run_id
    with pytest.raises(IllegalTransition, match="older than the log"):
        await office.stubs.runs.RetryRun(RetryRunRequest(request_id=new_id(), run_id=old.run_id))
    await office.exchange("t1", "four", "answer four")
    assert (await threads.VerifyThread(pb.VerifyThreadRequest(thread_id="t1"))).events > len(page.events)
