"""A consumer in a process of its own, beside three replicas that die and are restarted, and a NATS that loses all."""

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from heddle.runtime.v1.run_pb2 import RunState
from tests.kit.cli import ROOT, environment
from tests.kit.postgres import shared_server
from tests.kit.replica_processes import Cluster, cluster

pytestmark = [pytest.mark.timeout(170), pytest.mark.slow]

WORDS = " ".join(f"word{number}" for number in range(40))
SCENARIO = f"""
turns:
  - when: {{user: '^long'}}
    steps:
      - text: "{WORDS}"
        stream: {{delay_ms: 25}}
  - steps:
      - text: "You said {{{{user}}}}."
"""
ALL_IS_MARKED = """
DO $$ BEGIN
  WHILE EXISTS (SELECT 1 FROM threads WHERE published_sequence < last_sequence) LOOP
    PERFORM pg_sleep(0.02);
  END LOOP;
END $$
"""
"""Returns when the relays have marked all that is committed."""


class Seen:
    """All that the example has printed, in any of its lives."""

    def __init__(self) -> None:
        self.events: dict[str, list[int]] = {}

    async def until(self, process: Process, ends: dict[str, int]) -> None:
        """Read until each of these threads has come to its end."""
        assert process.stdout is not None
        async with asyncio.timeout(60):
            while any(self.events.get(thread, [0])[-1] < last for thread, last in ends.items()):
                line = await process.stdout.readline()
                assert line, "the consumer has ended"
                thread, sequence, _ = json.loads(line)
                self.events.setdefault(thread, []).append(sequence)


@asynccontextmanager
async def consumer(three: Cluster, places: Path) -> AsyncGenerator[Process]:
    """`examples/consume_events.py`, killed in the end; what it misses it reads from the log at the third replica."""
    program = [sys.executable, str(ROOT / "examples" / "consume_events.py"), str(three.nats.endpoint_file), str(places)]
    process = await asyncio.create_subprocess_exec(
        *program, three.c.desk.address, env=environment(), stdout=PIPE, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        yield process
    finally:
        process.kill()
        await process.communicate()


async def ends_of(three: Cluster) -> dict[str, int]:
    return dict(await shared_server().rows("SELECT thread_id, last_sequence FROM threads", three.database))


async def test_a_consumer_sees_every_event_once_and_in_order_through_all_of_that(tmp_path: Path) -> None:
    seen, places = Seen(), tmp_path / "seen.db"
    async with cluster(tmp_path, SCENARIO) as three:
        a, b, c = three.all
        async with consumer(three, places) as process:
            runs = [(await b.desk.start("long story", f"t{number}")).run.run_id for number in range(4)]
            await c.desk.words(await b.desk.start("long story", "t9"), "word5 ")
            await b.kill()
            await three.wipe_nats()
            a.signal(signal.SIGTERM)
            assert await a.ended() == 0
            for run_id in runs:
                assert (await c.desk.ended(run_id)).state == RunState.RUN_STATE_COMPLETED
            await asyncio.gather(a.start(), b.start())
            await seen.until(process, await ends_of(three))
        for number in range(3):
            started = await a.desk.start("be well", f"t{number}")
            await b.desk.ended(started.run.run_id)
        async with asyncio.timeout(60):
            await shared_server().execute(ALL_IS_MARKED, three.database)
        await three.wipe_nats()  # after it was published, before it is consumed, and no event follows
        async with consumer(three, places) as process:
            ends = await ends_of(three)
            await seen.until(process, ends)
        assert seen.events == {thread: [*range(1, last + 1)] for thread, last in ends.items()}
