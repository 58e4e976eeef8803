"""Anything that clients may do, in any order, with the server killed in the middle; and a checker behind it.

HEDDLE_PROPERTY_SEED replays a run; HEDDLE_PROPERTY_EXAMPLES says how many tenants there are, one an example.
"""

import asyncio
import os
import secrets
import threading
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from random import Random
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from heddle.runtime.v1.turn_pb2 import ConflictPolicy
from tests.kit.forked_runtime import ServerProcess, Zygote
from tests.kit.property_answers import HOWS, answer, answer_again
from tests.kit.property_scenario import KINDS, scenario
from tests.kit.property_world import REPEATABLE, World

SEED = int(os.environ.get("HEDDLE_PROPERTY_SEED") or secrets.randbits(32))
EXAMPLES = int(os.environ.get("HEDDLE_PROPERTY_EXAMPLES", "200"))
STEPS = 24
_RULE_WITHIN = 60.0
"""Seconds that one rule may take; the check of an example, twice that."""

settings.register_profile(
    "runtime",
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    deadline=None,
    database=None,
    print_blob=False,
    phases=(Phase.generate,),  # a process is no pure function: what fails is replayed by its seed, not shrunk
    suppress_health_check=list(HealthCheck),
)

PICK = st.integers(0, 997)
PLACE = st.sampled_from((0.0, 0.3, 0.7, 1.0, 1.0))
POLICY = st.sampled_from(
    (
        ConflictPolicy.CONFLICT_POLICY_UNSPECIFIED,
        ConflictPolicy.CONFLICT_POLICY_ENQUEUE,
        ConflictPolicy.CONFLICT_POLICY_REJECT,
        ConflictPolicy.CONFLICT_POLICY_INTERRUPT,
        ConflictPolicy.CONFLICT_POLICY_ROLLBACK,
        ConflictPolicy.CONFLICT_POLICY_STEER,
    )
)
KIND = st.sampled_from((*KINDS, "ask", "write", "both", "time", "look"))
ASKING = st.sampled_from(("ask", "write", "both", "look", "say"))
"""Kinds that wait for somebody; `say` is planned first."""
SOON = st.sampled_from((0.0, 0.002, 0.01, 0.03, 0.1))


class Loop:
    """An event loop on a thread of its own, so that clients read while the machine thinks."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="clients")
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, None], seconds: float = _RULE_WITHIN) -> None:
        """Do something on the loop, and wait for it."""
        asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, seconds), self._loop).result()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class RuntimeMachine(RuleBasedStateMachine):
    """One tenant of a server that all examples share."""

    loop: ClassVar[Loop]
    server: ClassVar[ServerProcess]
    seen: ClassVar[Counter[str]] = Counter()
    """How often each method was answered in which way: what a run has really tested."""
    examples: ClassVar[int] = 0
    kills: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        type(self).examples += 1
        self.failed = False
        self.world = World(self.server, f"tenant{self.examples}")

    def do(self, work: Coroutine[Any, Any, None], seconds: float = _RULE_WITHIN) -> None:
        try:
            self.loop.run(work, seconds)
        except BaseException as error:
            self.failed = True
            last = "\n".join(str(told) for told in self.world.journal[-25:])
            error.add_note(f"seed {SEED}, tenant {self.world.tenant}; the last calls:\n{last}")
            raise

    @initialize(kinds=st.lists(st.tuples(KIND, POLICY), min_size=1, max_size=3))
    def open(self, kinds: list[tuple[str, ConflictPolicy.ValueType]]) -> None:
        async def begin() -> None:
            await self.world.open()
            await asyncio.gather(*(self.world.start(self.thread(n), *each) for n, each in enumerate(kinds)))

        self.do(begin())

    @rule(pick=PICK, kind=KIND, policy=POLICY, plans=st.sampled_from((False, False, False, True)))
    def start(self, pick: int, kind: str, policy: ConflictPolicy.ValueType, plans: bool) -> None:
        self.do(self.world.start(self.thread(pick), kind, policy, plans=plans))

    @rule(pick=PICK, kinds=st.lists(st.tuples(KIND, POLICY), min_size=2, max_size=4))
    def start_together(self, pick: int, kinds: list[tuple[str, ConflictPolicy.ValueType]]) -> None:
        async def together() -> None:
            await asyncio.gather(*(self.world.start(self.thread(pick), *each) for each in kinds))

        self.do(together())

    @rule(pick=PICK, kind=KIND, policy=POLICY, end_on_waiting=st.booleans())
    def stream(self, pick: int, kind: str, policy: ConflictPolicy.ValueType, end_on_waiting: bool) -> None:
        self.do(self.world.stream(self.thread(pick), kind, policy, end_on_waiting=end_on_waiting))

    @rule(pick=PICK, kind=KIND)
    def validate(self, pick: int, kind: str) -> None:
        self.do(self.world.validate(self.thread(pick), kind))

    @rule(pick=PICK, reuse=st.booleans())
    def repeat(self, pick: int, reuse: bool) -> None:
        if self.world.turns:
            request = self.world.turns[pick % len(self.world.turns)]
            self.do(self.world.reuse(request) if reuse else self.world.repeat(request))

    @rule(pick=PICK)
    def repeat_any(self, pick: int) -> None:
        done = [told for told in self.world.journal if told.done and told.method in REPEATABLE]
        if done:
            self.do(self.world.repeat_any(done[pick % len(done)]))

    @rule(pick=PICK, place=PLACE, end_on_waiting=st.booleans())
    def rejoin(self, pick: int, place: float, end_on_waiting: bool) -> None:
        if self.world.turns:
            request = self.world.turns[pick % len(self.world.turns)]
            self.do(self.world.rejoin(request, place, end_on_waiting=end_on_waiting))

    @rule(pick=PICK, place=PLACE, deltas=st.sampled_from((True, True, False)))
    def watch(self, pick: int, place: float, deltas: bool) -> None:
        self.do(self.world.watch(self.thread(pick), place, deltas=deltas))

    @rule(pick=PICK, come_back=st.booleans())
    def disconnect(self, pick: int, come_back: bool) -> None:
        if self.world.readers:
            reader = self.world.readers[pick % len(self.world.readers)]
            self.do(reader.leave())
            if come_back:
                self.do(self.world.resume(reader))

    @rule(pick=PICK, what=st.sampled_from(("run_id", "turn_request_id", "thread_id")))
    def cancel(self, pick: int, what: str) -> None:
        world = self.world
        requests = [request.request_id for request in world.turns]
        named = {"run_id": world.runs, "turn_request_id": requests, "thread_id": world.threads}[what]
        if named:
            self.do(self._cancel(what, named[pick % len(named)]))

    @rule(pick=PICK, kind=KIND)
    def cancel_before_arrival(self, pick: int, kind: str) -> None:
        self.do(self.world.cancel_before_arrival(self.thread(pick), kind))

    @rule(pick=PICK, thread=PICK, how=st.sampled_from(HOWS))
    def answer(self, pick: int, thread: int, how: str) -> None:
        self.do(self.world.look_for_inputs(self.thread(thread)))
        if self.world.inputs:
            asked = self.world.inputs[-1 - pick % min(3, len(self.world.inputs))]
            self.do(answer(self.world, asked, how, self.world.new_id()))

    @rule(pick=PICK, kind=ASKING, policy=POLICY, hows=st.lists(st.sampled_from(HOWS), min_size=1, max_size=3))
    def ask_and_answer(self, pick: int, kind: str, policy: ConflictPolicy.ValueType, hows: list[str]) -> None:
        async def converse() -> None:
            thread_id = self.thread(pick)
            await self.world.start(thread_id, kind, policy, plans=kind == "say")
            for how in hows:
                await self.world.look_for_inputs(thread_id)
                mine = [asked for asked in self.world.inputs if asked.thread_id == thread_id]
                if mine:
                    await answer(self.world, mine[-1], how, self.world.new_id())

        self.do(converse())

    @rule(pick=PICK)
    def answer_again(self, pick: int) -> None:
        won = [
            told
            for told in self.world.journal
            if told.method == "ResolveInput" and told.done and told.request.HasField("answer")
        ]
        mine = [told for told in won if told.by == "ann"]
        if mine:
            self.do(answer_again(self.world, mine[pick % len(mine)], self.world.new_id()))

    @rule(pick=PICK, edited=st.booleans())
    def retry(self, pick: int, edited: bool) -> None:
        if self.world.runs:
            self.do(self.world.retry(self.world.runs[pick % len(self.world.runs)], edited=edited))

    @rule(pick=PICK, place=PLACE)
    def fork(self, pick: int, place: float) -> None:
        self.do(self.world.fork(self.thread(pick), place))

    @rule(pick=PICK, twice=st.sampled_from((True, True, False)))
    def archive(self, pick: int, twice: bool) -> None:
        for _ in range(1 + twice):
            self.do(self.world.archive(self.thread(pick)))

    @rule(pick=PICK, message=PICK)
    def redact(self, pick: int, message: int) -> None:
        self.do(self.world.redact(self.thread(pick), message))

    @rule(seconds=SOON)
    def go_on(self, seconds: float) -> None:
        self.do(self.world.quiet(seconds + 0.01))

    @rule(
        chance=st.integers(0, 3),
        pick=PICK,
        kinds=st.lists(st.tuples(KIND, POLICY), max_size=4),
        cancels=st.booleans(),
        seconds=SOON,
    )
    def kill(
        self, chance: int, pick: int, kinds: list[tuple[str, ConflictPolicy.ValueType]], cancels: bool, seconds: float
    ) -> None:
        if chance:
            return
        type(self).kills += 1
        world = self.world
        under_way: list[Any] = [world.start(self.thread(pick + place), *each) for place, each in enumerate(kinds)]
        if cancels:
            under_way.append(self._cancel("thread_id", self.thread(pick)))
        if world.inputs:
            under_way.append(answer(world, world.inputs[-1], "fit", world.new_id()))
        self.do(world.kill(under_way, seconds))

    def teardown(self) -> None:
        try:
            if not self.failed:
                self.do(self.world.check(Random(SEED + self.examples)), 2 * _RULE_WITHIN)
        finally:
            self.loop.run(self.world.close())
            self.seen.update(f"{each.method} {each.reason or each.outcome.name}" for each in self.world.journal)

    def thread(self, pick: int) -> str:
        return self.world.threads[pick % len(self.world.threads)]

    async def _cancel(self, what: str, name: str) -> None:
        await self.world.cancel(**{what: name})


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_whatever_clients_do_and_whenever_the_server_dies_every_promise_holds(tmp_path: Path) -> None:
    print(f"HEDDLE_PROPERTY_SEED={SEED}")
    file = tmp_path / "everything.yaml"
    file.write_text(scenario())
    zygote = Zygote()
    RuntimeMachine.loop = Loop()
    RuntimeMachine.server = ServerProcess(zygote, tmp_path / "server", {"MODEL": f"scripted:{file}"})
    try:
        RuntimeMachine.loop.run(RuntimeMachine.server.start(), 2 * _RULE_WITHIN)
        machine = seed(SEED)(RuntimeMachine)
        run_state_machine_as_test(machine, settings=settings.get_profile("runtime"))
    finally:
        RuntimeMachine.server.kill()
        RuntimeMachine.loop.close()
        zygote.close()
        print(f"{RuntimeMachine.examples} tenants, {RuntimeMachine.kills} kills")
        for what, times in sorted(RuntimeMachine.seen.items()):
            print(f"{times:7} {what}")
    if EXAMPLES >= 200:
        assert RuntimeMachine.kills >= 5, "the server was hardly ever killed: nothing was tested"
