"""Long threads over a served runtime: summaries of what leaves the window, and snapshots."""

import json
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import pytest

from heddle.runtime.v1.run_pb2 import RunState
from heddle_core.clock import SystemClock
from heddle_core.ids import TenantId, ThreadId
from heddle_database.sqlite import SqliteDatabase
from heddle_runtime.settings import LaneTimes
from heddle_runtime.store.reads import nearest_snapshot
from heddle_runtime.store.store import Store
from heddle_runtime.threads.fold import fold
from heddle_runtime.threads.fold_codec import encode
from heddle_runtime.threads.state import ThreadFold
from tests.kit.running_runtime import House, house, payloads

pytestmark = pytest.mark.timeout(100)

SUMMARY = json.dumps({"artifact": "the draft", "requirements": "must rhyme", "decisions": "none", "log": "began"})
SCENARIO = f"""
turns:
  - when: {{user: 'the messages that leave'}}
    steps:
      - text: '{SUMMARY}'
        usage: {{input: 100, output: 20}}
  - steps:
      - text: "You said {{{{user}}}}."
        usage: {{input: 1, output: 1}}
"""
BAD = SCENARIO.replace(SUMMARY, "I would rather not.")
QUICK = LaneTimes(drain_grace=timedelta(milliseconds=10))
WINDOW = {"history_window": 4}


async def talk(running: House, count: int, first: int = 0) -> list[RunState]:
    return [(await running.start(f"word {number}", "t1")).run for number in range(first, first + count)]


async def test_what_leaves_the_window_is_summarised_before_it_is_forgotten(tmp_path: Path) -> None:
    async with house(tmp_path, SCENARIO, agent=WINDOW) as running:
        ended = await talk(running, 6)
        events = await running.events("t1")
        summaries = payloads(events, "context_compacted")
        assert [summary.requirements for summary in summaries] == ["must rhyme"] * len(summaries)
        assert len(summaries) >= 2
        kinds = [event.WhichOneof("payload") for event in events]
        place = kinds.index("context_compacted")
        assert kinds[place - 2 : place + 2] == ["run_started", "step_completed", "context_compacted", "step_started"]
        billed = next(run for run in ended if run.run_id == events[place].run_id)
        assert (billed.usage.model_calls, billed.usage.input_tokens, billed.usage.output_tokens) == (2, 101, 21)
        assert all(run.state == RunState.RUN_STATE_COMPLETED for run in ended)
        assert sum(run.usage.model_calls for run in ended) == 6 + len(summaries)
        await running.verify("t1")


async def test_a_model_that_cannot_summarise_costs_nothing_that_was_said(tmp_path: Path) -> None:
    async with house(tmp_path, BAD, agent=WINDOW) as running:
        await talk(running, 6)
        last = payloads(await running.events("t1"), "context_compacted")[-1]
    assert all(f"- word {number}" in last.requirements for number in range(2))
    assert last.artifact.startswith("You said word") and last.decisions and last.log


async def test_an_owner_that_dies_while_it_summarises_leaves_nothing_and_the_next_does_it_once(tmp_path: Path) -> None:
    hanging = SCENARIO.replace("usage: {input: 100, output: 20}", "fault: {kind: hang}")
    async with house(tmp_path, hanging, agent=WINDOW, lanes=QUICK) as running:
        await talk(running, 3)
        run_id = ""
        async with aclosing(running.frames("word 3", "t1")) as frames:
            async for frame in frames:
                run_id = frame.opened.run_id or run_id
                if any(event.WhichOneof("payload") == "run_started" for event in frame.events.events):
                    break
    async with house(tmp_path, SCENARIO, agent=WINDOW, lanes=QUICK, first=False) as running:
        ended = await running.wait(run_id)
        assert ended.state == RunState.RUN_STATE_COMPLETED
        kinds = await running.kinds("t1")
        assert kinds.count("context_compacted") == 1
        assert kinds[-7:-4] == ["run_resumed", "step_completed", "context_compacted"]


async def test_a_long_thread_is_read_from_its_newest_snapshot(tmp_path: Path) -> None:
    async with house(tmp_path, SCENARIO, lanes=QUICK) as running:
        await talk(running, 60)
        before = await running.snapshot("t1")
    database = await SqliteDatabase.open(tmp_path / "data" / "heddle.db", clock=SystemClock())
    try:
        store, tenant, thread_id = Store(database), TenantId("default"), ThreadId("t1")
        stored = await store.read(lambda tx: nearest_snapshot(tx, tenant, thread_id, 10_000))
        assert stored is not None and stored.last_sequence >= 256
        assert stored.last_sequence == await store.last_snapshot(tenant, thread_id)
        events = await store.read_events(tenant, thread_id, 0, 1_000)
        whole = fold(ThreadFold(thread_id), events)
        assert encode(await store.load_fold(tenant, thread_id)) == encode(whole)
        assert encode(fold(stored, events[stored.last_sequence :])) == encode(whole)
        assert whole.last_sequence == before.sequence
    finally:
        await database.close()
    async with house(tmp_path, SCENARIO, lanes=QUICK, first=False) as running:
        assert await running.snapshot("t1") == before
        await running.verify("t1")
