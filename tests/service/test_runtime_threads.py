"""ThreadService over a real store: threads are made, found, changed, archived and deleted."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from heddle.runtime.v1 import thread_service_pb2 as pb
from heddle.runtime.v1.agent_pb2 import AgentSpec
from heddle.runtime.v1.agent_service_pb2 import ArchiveAgentRequest, CreateAgentRequest
from heddle.runtime.v1.thread_pb2 import ThreadActivity, ThreadSettings, ThreadState
from heddle_core.errors import AlreadyExists, EtagMismatch, IllegalTransition, InvalidField, RequestIdReused
from heddle_core.ids import TenantId, ThreadId
from heddle_core.runtime_errors import (
    AgentNotFound,
    ModelNotFound,
    StreamRotated,
    ThreadIsArchived,
    ThreadNotFound,
    ThreadUnfinished,
)
from heddle_runtime.runs.run import CancelCause
from heddle_runtime.store.retention import LogRetention
from heddle_runtime.threads.fold_codec import encode
from tests.kit.runtime_services import ACME, Office, new_id, serving

pytestmark = pytest.mark.timeout(60)


@pytest_asyncio.fixture
async def office(tmp_path: Path) -> AsyncGenerator[Office]:
    async with serving(tmp_path) as running:
        yield running


async def create(office: Office, thread_id: str = "", **settings: Any) -> str:
    request = pb.CreateThreadRequest(request_id=new_id(), thread_id=thread_id, settings=ThreadSettings(**settings))
    return (await office.stubs.threads.CreateThread(request)).thread.thread_id


async def test_a_repeated_create_gives_the_same_thread_and_an_edited_one_is_refused(office: Office) -> None:
    request = pb.CreateThreadRequest(
        request_id="r1", settings=ThreadSettings(title="Plans", labels={"b": "2", "a": "1"})
    )
    first = (await office.stubs.threads.CreateThread(request)).thread
    assert (first.settings.title, first.etag, first.last_sequence, first.state) == ("Plans", "1", 1, 1)
    assert (await office.stubs.threads.CreateThread(request)).thread == first
    request.settings.title = "Other plans"
    with pytest.raises(RequestIdReused):
        await office.stubs.threads.CreateThread(request)


async def test_an_id_is_taken_within_a_tenant_and_free_in_another(office: Office) -> None:
    await create(office, "t1")
    with pytest.raises(AlreadyExists):
        await create(office, "t1")
    other = office.reach("globex/bob")
    made = await other.threads.CreateThread(pb.CreateThreadRequest(request_id="r1", thread_id="t1"))
    assert made.thread.thread_id == "t1"


async def test_another_tenants_thread_and_an_unknown_one_look_the_same(office: Office) -> None:
    await create(office, "t1")
    other = office.reach("globex/bob").threads
    calls = [
        lambda at: other.GetThread(pb.GetThreadRequest(thread_id=at)),
        lambda at: other.ArchiveThread(pb.ArchiveThreadRequest(request_id=new_id(), thread_id=at)),
        lambda at: other.DeleteThread(pb.DeleteThreadRequest(request_id=new_id(), thread_id=at)),
        lambda at: other.ForkThread(pb.ForkThreadRequest(request_id=new_id(), source_thread_id=at)),
        lambda at: other.ListMessages(pb.ListMessagesRequest(thread_id=at)),
        lambda at: other.ListEvents(pb.ListEventsRequest(thread_id=at)),
        lambda at: other.VerifyThread(pb.VerifyThreadRequest(thread_id=at)),
        lambda at: other.RedactMessage(pb.RedactMessageRequest(request_id=new_id(), thread_id=at, message_id="m")),
    ]
    for call in calls:
        told = []
        for thread_id in ("t1", "t2"):
            with pytest.raises(ThreadNotFound) as caught:
                await call(thread_id)
            told.append(str(caught.value).replace(thread_id, "ID"))
        assert told[0] == told[1]


async def test_settings_that_name_what_cannot_be_used_are_refused(office: Office) -> None:
    with pytest.raises(AgentNotFound):
        await create(office, agent_id="nobody")
    with pytest.raises(ModelNotFound):
        await create(office, model="nowhere:nothing")
    with pytest.raises(InvalidField, match="title"):
        await create(office, title="x" * 257)
    with pytest.raises(InvalidField, match="context_json"):
        await create(office, context_json="[1]")
    assert not (await office.stubs.threads.ListThreads(pb.ListThreadsRequest())).threads


async def test_a_repeat_succeeds_though_its_agent_takes_no_turns_any_more(office: Office) -> None:
    spec = AgentSpec(description="Mine.")
    await office.stubs.agents.CreateAgent(CreateAgentRequest(request_id="a", agent_id="mine", spec=spec))
    request = pb.CreateThreadRequest(request_id="r1", settings=ThreadSettings(agent_id="mine"))
    first = await office.stubs.threads.CreateThread(request)
    await office.stubs.agents.ArchiveAgent(ArchiveAgentRequest(request_id="b", agent_id="mine"))
    assert await office.stubs.threads.CreateThread(request) == first
    with pytest.raises(IllegalTransition):
        await create(office, agent_id="mine")


async def test_lists_come_pinned_first_and_pages_go_on_where_they_ended(office: Office) -> None:
    made = [await create(office, f"t{number}", title=f"Thread {number}", pinned=number == 2) for number in range(7)]
    expected = ["t2", "t6", "t5", "t4", "t3", "t1", "t0"]
    seen: list[str] = []
    request = pb.ListThreadsRequest(page_size=3)
    while True:
        page = await office.stubs.threads.ListThreads(request)
        assert len(page.threads) <= 3
        seen += [thread.thread_id for thread in page.threads]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
        # A thread that is made meanwhile stands before the cursor, and moves nothing behind it.
        await create(office)
    assert seen == expected
    assert len(made) == 7


async def test_a_page_token_belongs_to_its_list_and_its_tenant(office: Office) -> None:
    for number in range(3):
        await create(office, f"t{number}", title="Same")
    page = await office.stubs.threads.ListThreads(pb.ListThreadsRequest(page_size=1))
    token = page.next_page_token
    wrong = [
        pb.ListThreadsRequest(page_token=token, title_contains="same"),
        pb.ListThreadsRequest(page_token=token, order_by="title"),
        pb.ListThreadsRequest(page_token=token[:-2] + "zz"),
        pb.ListThreadsRequest(page_token="WyJhIl0"),
        pb.ListThreadsRequest(page_token="%%%"),
    ]
    for request in wrong:
        with pytest.raises(InvalidField, match="page_token"):
            await office.stubs.threads.ListThreads(request)
    with pytest.raises(InvalidField, match="page_token"):
        await office.reach("globex/bob").threads.ListThreads(pb.ListThreadsRequest(page_token=token))


async def test_threads_are_found_by_title_labels_activity_and_state(office: Office) -> None:
    await create(office, "idle", title="Über Pläne", labels={"team": "a", "kind": "x"})
    await create(office, "busy", title="über alles", labels={"team": "a"})
    await create(office, "waiting", title="Other", labels={"team": "b"})
    await office.turn("busy", "hello")
    await office.turn("waiting", "hello")
    await (await office.work("waiting")).ask("inp_1")

    async def found(**filters: Any) -> set[str]:
        listed = await office.stubs.threads.ListThreads(pb.ListThreadsRequest(**filters))
        return {thread.thread_id for thread in listed.threads}

    assert await found(title_contains="ÜBER") == {"idle", "busy"}
    assert await found(labels={"team": "a"}) == {"idle", "busy"}
    assert await found(labels={"team": "a", "kind": "x"}) == {"idle"}
    assert await found(activity=ThreadActivity.THREAD_ACTIVITY_IDLE) == {"idle"}
    assert await found(activity=ThreadActivity.THREAD_ACTIVITY_BUSY) == {"busy"}
    assert await found(activity=ThreadActivity.THREAD_ACTIVITY_WAITING) == {"waiting"}
    assert await found(state=ThreadState.THREAD_STATE_ARCHIVED) == set()
    with pytest.raises(InvalidField, match="order_by"):
        await found(order_by="colour")
    listed = await office.stubs.threads.ListThreads(pb.ListThreadsRequest(order_by="title"))
    assert [thread.thread_id for thread in listed.threads] == ["waiting", "idle", "busy"]


async def test_an_update_changes_what_its_mask_names_and_nothing_else(office: Office) -> None:
    await create(office, "t1", title="Old", instructions="Be brief.", context_json='{"a":1}')
    request = pb.UpdateThreadRequest(request_id="r1", thread_id="t1", settings=ThreadSettings(title="New", pinned=True))
    request.update_mask.paths.extend(["title", "settings.pinned"])
    request.validate_only = True
    would = (await office.stubs.threads.UpdateThread(request)).thread
    assert (would.settings.title, would.settings.pinned, would.settings.instructions) == ("New", True, "Be brief.")
    assert (await office.stubs.threads.GetThread(pb.GetThreadRequest(thread_id="t1"))).thread.settings.title == "Old"
    request.validate_only = False
    now = (await office.stubs.threads.UpdateThread(request)).thread
    assert (now.settings, now.etag, now.context_version) == (would.settings, would.etag, 1)
    assert (await office.stubs.threads.UpdateThread(request)).thread.last_sequence == now.last_sequence == 2
    for paths in ([], ["colour"], ["settings"]):
        bad = pb.UpdateThreadRequest(request_id=new_id(), thread_id="t1", settings=ThreadSettings())
        bad.update_mask.paths.extend(paths)
        with pytest.raises(InvalidField, match="update_mask"):
            await office.stubs.threads.UpdateThread(bad)


async def test_of_two_who_change_the_context_at_once_one_wins(office: Office) -> None:
    await create(office, "t1", context_json='{"n":0}')

    async def change(value: int) -> bool:
        request = pb.UpdateThreadRequest(
            request_id=new_id(),
            thread_id="t1",
            settings=ThreadSettings(context_json=f'{{"n":{value}}}'),
            context_version=1,
        )
        request.update_mask.paths.append("context_json")
        try:
            await office.stubs.threads.UpdateThread(request)
        except EtagMismatch:
            return False
        return True

    assert sorted(await asyncio.gather(change(1), change(2), change(3))) == [False, False, True]
    thread = (await office.stubs.threads.GetThread(pb.GetThreadRequest(thread_id="t1"))).thread
    assert (thread.context_version, thread.etag) == (2, "2")
    stale = pb.UpdateThreadRequest(request_id=new_id(), thread_id="t1", settings=ThreadSettings(title="x"), etag="1")
    stale.update_mask.paths.append("title")
    with pytest.raises(EtagMismatch):
        await office.stubs.threads.UpdateThread(stale)


async def test_archiving_is_written_once_and_refuses_turns_until_it_is_undone(office: Office) -> None:
    await create(office, "t1")
    archive = pb.ArchiveThreadRequest(request_id="a", thread_id="t1")
    first = (await office.stubs.threads.ArchiveThread(archive)).thread
    again = await office.stubs.threads.ArchiveThread(pb.ArchiveThreadRequest(request_id="b", thread_id="t1"))
    assert (first.state, again.thread.last_sequence) == (ThreadState.THREAD_STATE_ARCHIVED, first.last_sequence)
    with pytest.raises(ThreadIsArchived):
        await office.turn("t1", "hello")
    undone = await office.stubs.threads.UnarchiveThread(pb.UnarchiveThreadRequest(request_id="c", thread_id="t1"))
    assert (undone.thread.state, undone.thread.last_sequence) == (ThreadState.THREAD_STATE_ACTIVE, 3)
    await office.turn("t1", "hello")


async def test_a_batch_archives_what_it_can_and_names_what_it_cannot(office: Office) -> None:
    for number in range(30):
        await create(office, f"t{number}")
    named = ["ghost", *(f"t{number}" for number in range(30)), "t3"]
    request = pb.BatchArchiveThreadsRequest(request_id="r1", thread_ids=named)
    done = await office.stubs.threads.BatchArchiveThreads(request)
    assert list(done.archived_thread_ids) == [f"t{number}" for number in range(30)]
    assert list(done.unknown_thread_ids) == ["ghost"]
    await create(office, "ghost")
    assert await office.stubs.threads.BatchArchiveThreads(request) == done


async def test_the_row_of_a_thread_says_what_its_fold_says(office: Office) -> None:
    await create(office, "t1", title="", context_json='{"a":1}')
    await office.exchange("t1", "hello", "hi")
    update = pb.UpdateThreadRequest(
        request_id=new_id(), thread_id="t1", settings=ThreadSettings(context_json='{"a":2}')
    )
    update.update_mask.paths.append("context_json")
    await office.stubs.threads.UpdateThread(update)
    await office.stubs.threads.ArchiveThread(pb.ArchiveThreadRequest(request_id=new_id(), thread_id="t1"))
    await office.stubs.threads.ForkThread(
        pb.ForkThreadRequest(request_id=new_id(), source_thread_id="t1", thread_id="t2", title="Fork")
    )
    for thread_id in ("t1", "t2"):
        row = await office.threads.get_thread(ACME, ThreadId(thread_id))
        fold = await office.store.load_fold(ACME, ThreadId(thread_id))
        assert (row.settings, row.status, row.revision) == (fold.settings, fold.status, fold.revision)
        assert (row.context_version, row.last_sequence) == (fold.context_version, fold.last_sequence)
        assert (row.head_hash, row.forked_from_thread_id) == (fold.head_hash, fold.forked_from_thread_id)
        assert encode(fold) == encode(await office.store.log.fold(ACME, ThreadId(thread_id)))


async def test_a_deleted_thread_leaves_a_tombstone_and_a_repeat_tells_of_it(office: Office) -> None:
    await create(office, "t1")
    await office.exchange("t1", "hello", "hi")
    request = pb.DeleteThreadRequest(request_id="d", thread_id="t1")
    done = await office.stubs.threads.DeleteThread(request)
    assert done.last_sequence > 1
    assert len(done.last_hash) == 32
    assert await office.stubs.threads.DeleteThread(request) == done
    for call in (
        office.stubs.threads.GetThread(pb.GetThreadRequest(thread_id="t1")),
        office.stubs.threads.DeleteThread(pb.DeleteThreadRequest(request_id="e", thread_id="t1")),
        office.stubs.threads.ListEvents(pb.ListEventsRequest(thread_id="t1")),
    ):
        with pytest.raises(ThreadNotFound) as told:
            await call
        assert told.value.deleted
    for call in (
        office.stubs.threads.ListEvents(pb.ListEventsRequest(thread_id="never")),
        office.reach("globex/bob").threads.ListEvents(pb.ListEventsRequest(thread_id="t1")),
    ):
        with pytest.raises(ThreadNotFound) as told:
            await call
        assert told.value.metadata.keys() == {"kind", "id"}, "nobody else is told that it was there"
    with pytest.raises(AlreadyExists, match="deleted thread"):
        await create(office, "t1")

    def left(tx: Any) -> dict[str, int]:
        tables = ("events", "runs", "inputs", "snapshots", "threads")
        return {table: tx.row(f"SELECT COUNT(*) FROM {table} WHERE thread_id = 't1'")[0] for table in tables}

    assert set((await office.store.read(left)).values()) == {0}
    assert await LogRetention(office.store).purge_deleted() == 0


async def test_deleting_waits_for_the_run_that_it_cancels(office: Office) -> None:
    await office.turn("t1", "work")
    work = await office.work("t1")
    waiting = await office.turn("t1", "more")
    cancelled = asyncio.Event()

    def heard(committed: Any, fold: Any) -> None:
        cancelled.set()

    office.store.log.add_listener(heard)
    deleting = asyncio.ensure_future(
        office.stubs.threads.DeleteThread(pb.DeleteThreadRequest(request_id="d", thread_id="t1"))
    )
    await asyncio.wait_for(cancelled.wait(), 5)
    run = await office.store.get_run(ACME, waiting.run_id)
    assert run.cancel_cause is CancelCause.THREAD_DELETED
    assert run.state.terminal
    await work.stop(CancelCause.THREAD_DELETED)
    assert (await deleting).last_sequence == work.known


async def test_a_thread_whose_run_does_not_end_stays_archived_and_can_be_deleted_later(tmp_path: Path) -> None:
    async with serving(tmp_path, delete_patience=0.05) as office:
        await office.turn("t1", "work")
        work = await office.work("t1")
        request = pb.DeleteThreadRequest(request_id="d", thread_id="t1")
        with pytest.raises(ThreadUnfinished):
            await office.stubs.threads.DeleteThread(request)
        thread = (await office.stubs.threads.GetThread(pb.GetThreadRequest(thread_id="t1"))).thread
        assert thread.state == ThreadState.THREAD_STATE_ARCHIVED
        await work.stop(CancelCause.THREAD_DELETED)
        await office.stubs.threads.DeleteThread(request)
        with pytest.raises(ThreadNotFound):
            await office.stubs.threads.GetThread(pb.GetThreadRequest(thread_id="t1"))


async def test_a_watcher_gets_the_whole_state_first_and_then_what_changes(office: Office) -> None:
    await create(office, "t1", labels={"team": "a"})
    await create(office, "t2", labels={"team": "b"})
    stream = office.stubs.threads.WatchThreads(pb.WatchThreadsRequest(labels={"team": "a"}))
    frames = aiter(stream)
    first = await anext(frames)
    assert ([thread.thread_id for thread in first.threads], first.complete) == (["t1"], True)
    await office.turn("t2", "not for this watcher")
    await office.turn("t1", "hello")
    changed = await anext(frames)
    assert [thread.thread_id for thread in changed.threads] == ["t1"]
    assert (changed.complete, changed.threads[0].activity) == (False, ThreadActivity.THREAD_ACTIVITY_BUSY)
    other = aiter(office.reach("globex/bob").threads.WatchThreads(pb.WatchThreadsRequest()))
    assert not (await anext(other)).threads
    await office.turn("g1", "theirs", tenant=TenantId("globex"))
    assert [thread.thread_id for thread in (await anext(other)).threads] == ["g1"]


async def test_a_watcher_that_grows_old_is_told_to_come_again(tmp_path: Path) -> None:
    async with serving(tmp_path, watch_age=0.05) as office:
        frames = aiter(office.stubs.threads.WatchThreads(pb.WatchThreadsRequest()))
        assert (await anext(frames)).complete
        with pytest.raises(StreamRotated):
            await anext(frames)
