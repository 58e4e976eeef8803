"""Explanations, boundaries of forks, shipped agents and doorbells: the pure parts behind the runtime's services."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from heddle_core.clock import Micros
from heddle_core.errors import CannotServe
from heddle_core.ids import InputId, PrincipalId, RequestId, RunId, TenantId, ThreadId, WorkerId
from heddle_runtime.facade.explain import explain
from heddle_runtime.facade.run_commands import RunFacts
from heddle_runtime.facade.shipped_agents import shipped_agents
from heddle_runtime.facade.waiting import MOST_CHANGED, Changes, Doorbells, rung
from heddle_runtime.runs.content import Actor
from heddle_runtime.runs.run import CancelCause, FailureReason, Run, RunFailure
from heddle_runtime.runs.state import RunState
from heddle_runtime.runs.turn import AgentReference, Trigger, TurnMode
from heddle_runtime.runs.usage import Limits
from heddle_runtime.store.forks import free_stretches, nearest
from heddle_runtime.store.marks import MARKED, RUN_COMPLETED, RUN_STARTED, TURN_REQUESTED, Mark
from heddle_runtime.store.migrations import v0001_initial
from heddle_runtime.threads.events import Event, ThreadArchived
from heddle_runtime.threads.log import Committed, ThreadLog
from heddle_runtime.tools.selection import problem_of_pattern

NOW = Micros(1_000_000_000)


def run(state: RunState, run_id: str = "run_1", **fields: Any) -> Run:
    given: dict[str, Any] = {
        "tenant": TenantId("acme"),
        "run_id": RunId(run_id),
        "thread_id": ThreadId("t1"),
        "state": state,
        "request_id": RequestId("r"),
        "actor": Actor(PrincipalId("ada")),
        "agent": AgentReference("general", 1),
        "model": "scripted:echo",
        "mode": TurnMode.ACT,
        "trigger": Trigger(),
        "labels": {},
        "limits": Limits(),
        "root_run_id": RunId(run_id),
        "create_time": NOW,
        "request_sequence": 2,
    }
    return Run(**{**given, **fields})


QUEUED, RUNNING, WAITING = RunState.QUEUED, RunState.RUNNING, RunState.WAITING
OTHER = run(RUNNING, "run_0")
ASKING = run(WAITING, "run_0")
INPUTS = tuple(InputId(f"inp_{number}") for number in range(5))


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (RunFacts(run(QUEUED), NOW, queue_position=1), r"next in its thread, and starts as soon as a worker takes it"),
        (RunFacts(run(QUEUED, attempt=1), NOW, queue_position=1), r"goes on as soon as a worker takes it"),
        (RunFacts(run(QUEUED, not_before=NOW + 1), NOW, queue_position=1), r"another 1 s \(not_before\). Cancel"),
        (RunFacts(run(QUEUED), NOW, OTHER, 2), r"number 2 .* behind run run_0, which is at work. Wait, or cancel that"),
        (
            RunFacts(run(QUEUED), NOW, ASKING, 1, pending_inputs=INPUTS[:1]),
            r"behind run run_0, which waits for an input: call ResolveInput for inp_0, or cancel that run",
        ),
        (RunFacts(run(QUEUED), NOW, run(QUEUED, "run_0"), 1), r"behind run run_0, which is about to go on"),
        (RunFacts(run(QUEUED), NOW, None, 2, RunId("run_9")), r"behind run run_9, which starts first"),
        (RunFacts(run(QUEUED, cancel_sequence=9), NOW), r"cancelled; a worker will settle it"),
        (RunFacts(run(RUNNING, owner=WorkerId("w")), NOW, lease_until=Micros(NOW + 1)), r"Worker w is at work on it"),
        (RunFacts(run(RUNNING, owner=WorkerId("w")), NOW, lease_until=NOW), r"Its worker w is gone; another takes"),
        (RunFacts(run(RUNNING, owner=WorkerId("w")), NOW), r"is gone"),
        (
            RunFacts(run(RUNNING, owner=WorkerId("w"), cancel_sequence=3), NOW, lease_until=Micros(NOW + 1)),
            r"cancelled, and worker w is stopping it",
        ),
        (
            RunFacts(run(WAITING), NOW, pending_inputs=INPUTS),
            r"waits for 5 inputs. Call ResolveInput for inp_0, inp_1, inp_2 and 2 more, or cancel it",
        ),
        (RunFacts(run(WAITING), NOW), r"inputs are all resolved"),
        (RunFacts(run(RunState.COMPLETED), NOW), r"has answered"),
        (
            RunFacts(run(RunState.FAILED, failure=RunFailure(FailureReason.STEP_LIMIT, "8 steps")), NOW),
            r"failed \(STEP_LIMIT\): 8 steps. Call RetryRun",
        ),
        (
            RunFacts(run(RunState.CANCELLED, cancel_cause=CancelCause.INTERRUPTED), NOW),
            r"cancelled \(INTERRUPTED\). Call RetryRun",
        ),
    ],
)
def test_an_explanation_says_what_would_move_the_run(facts: RunFacts, said: str) -> None:
    sentence = explain(facts).sentence
    assert re.search(said, sentence), sentence
    assert sentence[0].isupper() and sentence.endswith((".", "8 steps. Call RetryRun to start it again."))


def test_a_quota_is_named_only_where_nothing_else_holds_the_run_back() -> None:
    free = RunFacts(run(QUEUED), NOW, queue_position=1)
    assert explain(free, "a free slot").quota == "a free slot"
    assert "waits for a free slot" in explain(free, "a free slot").sentence
    for facts in (
        RunFacts(run(QUEUED), NOW, OTHER, 1),
        RunFacts(run(QUEUED, not_before=NOW + 1), NOW, queue_position=1),
        RunFacts(run(RUNNING), NOW),
    ):
        assert explain(facts, "a free slot").quota == ""


def marks(text: str) -> list[Mark]:
    """Marks from `q1 s1 e1`: run 1 requested, started, ended; a dot is any other event."""
    kinds = {"q": TURN_REQUESTED, "s": RUN_STARTED, "e": RUN_COMPLETED}
    return [
        Mark(place, kinds[word[0]], RunId(word[1:]))
        for place, word in enumerate(text.split(), start=1)
        if word[0] in kinds
    ]


@pytest.mark.parametrize(
    ("log", "stretches"),
    [
        (". .", [(1, 2)]),
        (". q1 s1 . e1", [(1, 1), (5, 5)]),
        (". q1 s1 e1 . . q2", [(1, 1), (4, 6)]),
        (". q1 s1 q2 e1 s2 e2 .", [(1, 1), (5, 5), (7, 8)]),
        (". q1 s1 q2 e2 . e1", [(1, 1), (7, 7)]),
        ("q1 e1 .", [(2, 3)]),
        (". q1 s1 s1 e1", [(1, 1), (5, 5)]),
    ],
)
def test_a_thread_can_be_forked_where_nothing_is_at_work(log: str, stretches: list[tuple[int, int]]) -> None:
    assert free_stretches(marks(log), 1, len(log.split())) == stretches


def test_the_nearest_boundary_is_the_earlier_of_two_that_are_as_near() -> None:
    assert nearest([(1, 2), (6, 6), (9, 12)], 4) == 2
    assert nearest([(1, 2), (6, 6), (9, 12)], 5) == 6
    assert nearest([(1, 2), (6, 6), (9, 12)], 10) == 10
    assert nearest([], 4) == 0


def test_the_statements_and_the_index_name_the_same_kinds() -> None:
    assert f"kind IN ({v0001_initial.MARKS})" == MARKED


def test_the_shipped_agents_are_complete() -> None:
    agents = shipped_agents()
    assert len(agents) == 9
    for agent_id, agent in agents.items():
        assert (agent.agent_id, agent.version, agent.built_in) == (agent_id, 1, True)
        assert 400 < len(agent.spec.instructions) < 3_000
        assert agent.spec.description and agent.spec.display_name
        assert agent.spec.limits is not None and agent.spec.limits.steps
        assert [problem for pattern in agent.spec.tools if (problem := problem_of_pattern(pattern))] == []


@pytest.mark.parametrize("text", ["display_name: X", "[]", "a: [", "colour: red"])
def test_a_broken_file_of_an_agent_stops_the_start_and_names_the_agent(tmp_path: Path, text: str) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(CannotServe, match="agent mine"):
        shipped_agents(tmp_path)


class NoFolds:
    async def load_fold(self, tenant: TenantId, thread_id: ThreadId, at_sequence: int = 0) -> Any:
        raise AssertionError("nothing here reads a fold")


async def test_a_bell_rings_for_its_thread_and_for_nobody_who_has_left() -> None:
    acme, thread = TenantId("acme"), ThreadId("t1")
    log = ThreadLog(NoFolds())
    doorbells = Doorbells(log)
    now = asyncio.get_running_loop().time()
    with doorbells.of_thread(acme, thread) as bell, doorbells.of_thread(acme, thread) as second:
        doorbells.ring(acme, ThreadId("t2"))
        doorbells.ring(TenantId("globex"), thread)
        assert not await rung(bell, now)
        doorbells.ring(acme, thread)
        assert await rung(bell, now + 5)
        assert await rung(second, now + 5)
    bell.clear()
    doorbells.ring(acme, thread)
    assert not bell.is_set()


async def test_changes_name_a_thread_once_and_say_when_there_were_too_many() -> None:
    changes = Changes()
    for _ in range(3):
        changes.note(ThreadId("t1"))
    assert changes.take() == (frozenset({"t1"}), False)
    assert not changes.doorbell.is_set()
    for number in range(MOST_CHANGED + 1):
        changes.note(ThreadId(f"t{number}"))
    named, overrun = changes.take()
    assert (len(named), overrun) == (MOST_CHANGED, True)


async def test_every_commit_rings() -> None:
    log = ThreadLog(NoFolds())
    doorbells = Doorbells(log)
    with doorbells.of_tenant(TenantId("acme")) as changes:
        archived = Event(2, RunId(""), NOW, ThreadArchived(Actor(PrincipalId("ada"))))
        log.publish(Committed(TenantId("acme"), ThreadId("t1"), (archived,)))
        assert changes.take() == (frozenset({"t1"}), False)
