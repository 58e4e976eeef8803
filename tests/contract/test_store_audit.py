"""Whatever is wrong in a database is found by verifying it, whichever engine holds it."""

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
import pytest_asyncio

import heddle_runtime.threads.events as e
from heddle_core.ids import MessageId, RunId, ThreadId
from heddle_runtime.facade.retention import RetentionPolicy
from heddle_runtime.maintenance.auditing import audit
from heddle_runtime.runs.run import RunResult
from heddle_runtime.store.log import LogWriter, draft
from heddle_runtime.store.retention import LogRetention
from heddle_runtime.threads.fold_codec import encode
from tests.kit.stores import ACME, SHOPS, Shop


@pytest_asyncio.fixture(params=SHOPS)
async def shop(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncGenerator[Shop]:
    async with SHOPS[request.param](tmp_path) as running:
        for thread_id in ("t1", "t2", "t3"):
            for number in range(2):
                owner = await running.owner(thread_id, text=f"question {number}")
                await owner.say("answer")
                await owner.complete()
        state = await running.store.load_fold(ACME, ThreadId("t1"))
        await running.store.store_snapshot(ACME, state, encode(state))
        await LogRetention(running.store).trim(RetentionPolicy(keep_events=6, least=1), ACME, ThreadId("t3"))
        await (await running.owner("t2")).ask("q")
        await running.owner("t3")
        await running.turn("t3")
        yield running


async def test_a_sound_database_verifies_and_says_how_much(shop: Shop) -> None:
    told: list[tuple[int, int]] = []
    found = await audit(shop.database, lambda done, of: told.append((done, of)))
    assert found.problems == []
    kept = (await shop.row("SELECT CAST(SUM(last_sequence - first_sequence + 1) AS BIGINT) FROM threads"))[0]
    assert (found.threads, found.events, found.snapshots) == (3, kept, 1)
    assert told[-1] == (kept, kept) and len(told) == 3
    assert found.events_per_second > 0


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        ("UPDATE events SET payload = digest WHERE thread_id = 't1' AND sequence = 3", "payload was changed"),
        ("UPDATE events SET run_id = 'x' WHERE thread_id = 't1' AND sequence = 3", "hash does not follow"),
        ("DELETE FROM events WHERE thread_id = 't1' AND sequence = 13", "missing"),
        ("DELETE FROM events WHERE thread_id = 't1' AND sequence = 5", "stands in its place"),
        ("DELETE FROM snapshots WHERE thread_id = 't3'", "base that retention left is missing"),
        ("UPDATE snapshots SET hash = body WHERE thread_id = 't1'", "snapshot carries another hash"),
        ("UPDATE threads SET title = 'x' WHERE thread_id = 't1'", "settings is not what the log comes to"),
        ("UPDATE threads SET status = 2 WHERE thread_id = 't1'", "status is not what the log comes to"),
        ("UPDATE threads SET lane_run_id = '' WHERE thread_id = 't2'", "the lane is held by nobody"),
        ("UPDATE threads SET last_sequence = 12 WHERE thread_id = 't1'", "carries another hash"),
        ("UPDATE threads SET published_sequence = 99 WHERE thread_id = 't1'", "marked as published"),
        ("DELETE FROM runs WHERE thread_id = 't1' AND request_sequence = 2", "in the log and has no row"),
        ("UPDATE runs SET request_sequence = 3 WHERE thread_id = 't1' AND request_sequence = 2", "the log at 2"),
        ("UPDATE runs SET state = 5 WHERE thread_id = 't1'", "ended as COMPLETED in the log, and its row says FAILED"),
        ("UPDATE runs SET state = 4 WHERE thread_id = 't2' AND state = 3", "the log has no end of it"),
        ("UPDATE runs SET state = 4 WHERE thread_id = 't2' AND state = 3", "waits for an answer, and its run"),
        ("UPDATE runs SET state = 4 WHERE thread_id = 't2' AND state = 3", "still holds the lane"),
        ("UPDATE runs SET state = 1 WHERE thread_id = 't3' AND request_sequence < 3", "its turn is no longer kept"),
        ("DELETE FROM threads WHERE thread_id = 't1'", "neither there nor being deleted"),
        (
            "INSERT INTO tombstones (tenant, thread_id) VALUES ('acme', 't1')",
            "is there although it was deleted",
        ),
    ],
)
async def test_damage_is_found_and_named(shop: Shop, damage: str, problem: str) -> None:
    assert await shop.database.write(lambda tx: tx.run(damage)) > 0
    found = await audit(shop.database)
    assert any(problem in each.problem for each in found.problems), found.problems
    named = {each.thread_id for each in found.problems if each.thread_id}
    assert len(named) <= 1 and found.threads >= 2, "the others verify"


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        (e.RunCompleted(RunResult(MessageId("m"), ())), "does not fit what came before"),
        (e.ErrorRecorded("NOTE", "late"), "behind its end at 7"),
    ],
)
async def test_what_follows_the_end_of_a_run_is_found(shop: Shop, payload: e.Payload, problem: str) -> None:
    """As a stale owner would write it that no fence keeps out: with a sound chain."""
    ended = RunId((await shop.row("SELECT run_id FROM runs WHERE thread_id = 't1' ORDER BY request_sequence"))[0])

    def append(writer: LogWriter) -> None:
        writer.append(writer.lock(ACME, ThreadId("t1")), [draft(ended, payload)])

    await shop.store.write(append)
    found = await audit(shop.database)
    assert [each.thread_id for each in found.problems] == ["t1"]
    assert problem in found.problems[0].problem
