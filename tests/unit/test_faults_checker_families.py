"""The fault suite's checker on parents and children: a small true story, and each way to falsify it is seen."""

import json
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from tests.faults.checker import family_rows as f
from tests.faults.checker import rows
from tests.faults.checker.evidence import Line
from tests.faults.checker.families import CHECKS, refusals, told
from tests.faults.checker.family_rows import Families, Group, Place, Spawn
from tests.kit.faults_evidence import RUN, TENANT, THREAD, Story, message

CHILD, CHILD_THREAD = "run_2", "t2"
SPAWNED, FINISHED = 42, 43


@dataclass
class Family:
    """A parent that delegated once, its child, and a group of two that a client asked for."""

    story: Story = field(default_factory=Story)
    spawns: list[Spawn] = field(default_factory=list)
    groups: list[Group] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)

    def seen(self) -> set[str]:
        """Names of the checks that find something."""
        evidence = self.story.evidence()
        evidence.families = Families(tuple(self.spawns), tuple(self.groups), tuple(self.places))
        return {each.__name__ for each in CHECKS if list(each(evidence))}

    def counted(self) -> tuple[int, int]:
        """Refusals because of the depth, and parents that were told."""
        evidence = self.story.evidence()
        evidence.families = Families(tuple(self.spawns), tuple(self.groups), tuple(self.places))
        return refusals(evidence, "DEPTH_EXCEEDED"), told(evidence)

    def asked(self, outcome: str = "ok", method: str = "SpawnAgent", **changes: Any) -> Line:
        """A client's call at the spawn service."""
        line: Line = {
            "kind": "spawn_call",
            "at": 100.0 + len(self.story.clients),
            "began": 99.9 + len(self.story.clients),
            "tenant": TENANT,
            "principal": "cal",
            "method": method,
            "outcome": outcome,
            "code": "OK",
            "reason": "",
            "message": "",
            "asked": {"request_id": "q1", "key": "g1", "body": "b1"},
            "said": {"spawns": {"s2": 1, "s3": 1}, "group_id": "grp", "group_state": 1},
            **changes,
        }
        self.story.clients.append(line)
        return line


def end_of_child(**changes: Any) -> str:
    """What the parent was told."""
    return json.dumps({"spawn_id": "s1", "key": "k1", "state": "COMPLETED", "result": "done", **changes})


def family(*, result: str = "", more: tuple[tuple[int, tuple[tuple[int, int | str | bytes], ...]], ...] = ()) -> Family:
    """Nothing is wrong in it, unless `result` or `more` behind the child's start make it so."""
    here = Family()
    tell = here.story.tell
    tell(rows.TURN_REQUESTED, (1, "q1"))
    tell(rows.RUN_STARTED, (1, 1), (2, 1))
    tell(rows.STEP_COMPLETED, (1, "s1"), (2, 1), (4, message((1, 10), (2, 5))))
    tell(rows.TOOL_CALL_STARTED, (1, "c1"), (2, "spawn/spawn_agent"), (5, "i1"), (6, 1), (7, 1))
    tell(rows.INPUT_REQUESTED, (1, message((1, "i1"), (2, THREAD), (3, RUN), (4, "c1"))))
    tell(SPAWNED, (1, CHILD), (2, CHILD_THREAD), (4, message((2, 60))))
    for kind, fields in more:
        tell(kind, *fields)
    tell(rows.RUN_COMPLETED, run=CHILD, thread=CHILD_THREAD)
    tell(FINISHED, (1, CHILD), (2, rows.COMPLETED), (3, message((1, 20), (2, 10))))
    tell(rows.INPUT_RESOLVED, (1, "i1"), (2, 3))
    tell(rows.TOOL_CALL_COMPLETED, (1, "c1"), (2, rows.OK), (3, message((4, result or end_of_child()))))
    tell(rows.RUN_COMPLETED)
    here.places = [
        Place(TENANT, RUN, THREAD, "", RUN, 0, 0, rows.COMPLETED, 1, "", '{"tokens": 100}', 0, 30, 15),
        Place(TENANT, CHILD, CHILD_THREAD, RUN, RUN, 1, 1, rows.COMPLETED, 3, "s1", '{"tokens": 60}', 0, 20, 10),
        Place(TENANT, "run_3", "t3", "", "run_3", 0, 0, rows.COMPLETED, 3, "s2", "", 0, 1, 1),
        Place(TENANT, "run_4", "t4", "", "run_4", 0, 0, rows.CANCELLED, 3, "s3", "", 0, 1, 1),
    ]
    waited = message((12, "i1"))
    done, over = f.COMPLETED, f.CANCELLED
    here.spawns = [
        Spawn(TENANT, "s1", RUN, "k1", "", RUN, RUN, CHILD, CHILD_THREAD, done, 0, f.TOLD, 0, 1, waited),
        Spawn(TENANT, "s2", "@cal", "k2", "grp", "", "run_3", "run_3", "t3", done, 0, 0, 0, 0, b""),
        Spawn(TENANT, "s3", "@cal", "k3", "grp", "", "run_4", "run_4", "t4", over, 4, 0, 0, 0, b""),
    ]
    spec = message((1, "g1"), (2, message((1, b""), (1, b""))), (3, f.ANY))
    here.groups = [Group(TENANT, "grp", "@cal", "g1", "", "", f.GROUP_COMPLETED, 0, 0, spec)]
    here.asked(method="SpawnGroup")
    here.story.clients.append({"kind": "delegation_settled", "at": 1.0, "seconds": 2.0, "left": []})
    return here


def cancelled(here: Family, *, child_too: bool) -> Family:
    """The parent is cancelled while its child is open."""
    marks = [(RUN, THREAD), *([(CHILD, CHILD_THREAD)] if child_too else [])]
    place = next(n for n, each in enumerate(here.story.events) if each.kind == SPAWNED) + 1
    behind = here.story.events[place:]
    del here.story.events[place:]
    for run, thread in marks:
        here.story.tell(rows.RUN_CANCEL_REQUESTED, (1, 1), run=run, thread=thread)
    del behind
    return here


def test_nothing_is_wrong_in_the_true_story() -> None:
    here = family()
    assert here.seen() == set()
    assert here.counted() == (0, 1)


def test_a_second_child_of_a_key_is_seen() -> None:
    here = family()
    here.spawns.append(replace(here.spawns[1], spawn_id="s9", run_id="", state=f.CANCELLED, group_id=""))
    assert "p16_one_child" in here.seen()


def test_a_child_that_was_started_twice_is_seen_with_its_orphan() -> None:
    here = family()
    here.places.append(replace(here.places[2], run_id="run_9"))
    assert here.seen() == {"p16_one_child", "p16_no_orphan"}


@pytest.mark.parametrize("changes", [{"trigger_reference": "nobody"}, {"depth": 2}, {"parent_run_id": "run_7"}])
def test_a_run_that_no_child_knows_or_that_stands_elsewhere_is_seen(changes: dict[str, Any]) -> None:
    here = family()
    here.places[2] = replace(here.places[2], **changes)
    assert here.seen() == {"p16_no_orphan"}


@pytest.mark.parametrize(("place", "state"), [(1, f.RUNNING), (1, f.FAILED), (2, f.COMPLETED), (2, f.FAILED)])
def test_a_child_that_is_left_open_or_says_otherwise_than_its_run_is_seen(place: int, state: int) -> None:
    here = family()
    here.spawns[place] = replace(here.spawns[place], state=state)
    assert "p16_all_over" in here.seen()


@pytest.mark.parametrize("state", [f.GROUP_RUNNING, f.GROUP_FAILED])
def test_a_group_that_is_left_open_or_failed_with_enough_answers_is_seen(state: int) -> None:
    here = family()
    here.groups[0] = replace(here.groups[0], state=state)
    assert here.seen() == {"p16_all_over"}


def test_a_group_that_completed_with_too_few_answers_is_seen() -> None:
    here = family()
    here.groups[0] = replace(here.groups[0], spec=message((1, "g1"), (2, message((1, b""), (1, b""))), (3, f.ALL)))
    assert here.seen() == {"p16_all_over"}


@pytest.mark.parametrize("changes", [{"left": ["run_1"]}, {"seconds": 61.0}])
def test_a_family_that_does_not_settle_in_time_is_seen(changes: dict[str, Any]) -> None:
    here = family()
    here.story.clients[-1].update(changes)
    assert here.seen() == {"p16_nobody_waits"}


def test_a_parent_that_was_never_told_is_seen() -> None:
    here = family()
    here.story.events = [each for each in here.story.events if each.kind != rows.TOOL_CALL_COMPLETED]
    here.spawns[0] = replace(here.spawns[0], told=f.NOT_YET)
    assert "p16_nobody_waits" in here.seen()


@pytest.mark.parametrize("changes", [{"spawn_id": "s2"}, {"state": "FAILED"}])
def test_a_parent_that_was_told_of_another_end_is_seen(changes: dict[str, Any]) -> None:
    assert family(result=end_of_child(**changes)).seen() == {"p16_told_once"}


def test_a_result_that_is_not_the_spawn_services_is_seen() -> None:
    assert family(result="answer 7").seen() == {"p16_told_once"}


def test_a_call_that_was_left_to_a_person_to_decide_is_seen() -> None:
    here = family(result="answer 7", more=((rows.INPUT_REQUESTED, ((1, message((1, "i1r"), (4, "c1"), (5, 6))),)),))
    here.spawns[0] = replace(here.spawns[0], told=f.REFUSED)
    assert here.seen() == {"p16_told_once"}


def test_an_end_that_could_not_be_told_to_a_parent_that_nobody_cancelled_is_seen() -> None:
    here = family()
    here.spawns[0] = replace(here.spawns[0], told=f.REFUSED)
    assert here.seen() == {"p16_told_once"}


def test_two_children_for_one_call_are_seen() -> None:
    here = family()
    here.spawns.append(replace(here.spawns[0], spawn_id="s9", spawn_key="k9", run_id="", state=f.CANCELLED))
    assert here.seen() == {"p16_told_once"}


@pytest.mark.parametrize(
    "changes",
    [
        {"said": {"spawns": {"s9": 1}, "group_id": "grp2", "group_state": 1}},
        {"asked": {"request_id": "q2", "key": "g1", "body": "b2"}},
        {"outcome": "refused", "reason": "INVALID_FIELD"},
    ],
)
def test_a_key_that_is_answered_differently_is_seen(changes: dict[str, Any]) -> None:
    here = family()
    here.asked(method="SpawnGroup", **changes)
    assert here.seen() == {"p16_one_answer"}


def test_an_acknowledged_child_that_is_not_on_record_is_seen() -> None:
    here = family()
    here.asked(asked={"request_id": "q3", "key": "k8", "body": "b"}, said={"spawns": {"s8": 1}, "group_id": ""})
    assert here.seen() == {"p16_one_answer"}


def test_a_cancelled_parent_takes_its_open_child_along() -> None:
    assert "p16_cancels" not in cancelled(family(), child_too=True).seen()
    assert "p16_cancels" in cancelled(family(), child_too=False).seen()


def test_a_child_that_begins_under_a_cancelled_parent_is_seen() -> None:
    here = cancelled(family(), child_too=True)
    here.story.tell(SPAWNED, (1, CHILD), (2, CHILD_THREAD), (4, message((2, 10))))
    assert "p16_cancels" in here.seen()


def test_a_child_that_was_to_outlive_its_parent_and_did_not_is_seen() -> None:
    here = family()
    here.places[1] = replace(here.places[1], cascade=0, cancel_cause=f.CANCELLED_WITH_PARENT)
    assert here.seen() == {"p16_cancels"}


@pytest.mark.parametrize("name", ["s2", "nobody"])
def test_a_cancel_that_was_acknowledged_and_is_not_on_record_is_seen(name: str) -> None:
    here = family()
    said = {"spawns": {name: 2}, "group_id": "", "group_state": 0}
    here.asked(method="CancelSpawn", asked={"request_id": "q5", "spawn_id": name}, said=said)
    assert here.seen() == {"p16_cancels"}


def test_slices_that_are_more_than_the_parent_has_are_seen() -> None:
    here = family(more=((SPAWNED, ((1, "run_5"), (4, message((2, 60))))),))
    assert here.seen() == {"p16_budgets"}


def test_a_child_that_may_use_more_than_it_was_given_is_seen() -> None:
    here = family()
    here.places[1] = replace(here.places[1], limits='{"tokens": 61}')
    assert here.seen() == {"p16_budgets"}


def test_a_run_that_used_more_than_one_step_beyond_its_budget_is_seen() -> None:
    here = family()
    here.places[0] = replace(here.places[0], input_tokens=101)
    assert here.seen() == {"p16_budgets"}


def test_a_tree_that_is_too_deep_is_seen() -> None:
    here = family()
    here.spawns[1], here.places[2] = replace(here.spawns[1], depth=4), replace(here.places[2], depth=4)
    assert here.seen() == {"p16_bounds"}


def test_a_parent_with_too_many_open_children_is_seen() -> None:
    more = tuple((SPAWNED, ((1, f"run_{9 + each}"), (4, message((2, 1))))) for each in range(8))
    assert family(more=more).seen() == {"p16_bounds"}


def test_a_refusal_that_says_what_to_do_is_counted_and_one_that_does_not_is_seen() -> None:
    here = family()
    asked = {"request_id": "q7", "key": "k7", "body": "b", "parent_run_id": "run_1"}
    here.asked("refused", asked=asked, reason="DEPTH_EXCEEDED", message="Run run_1 is deep: do it yourself.")
    assert here.seen() == set()
    assert here.counted() == (1, 1)
    here.asked("refused", asked=asked, reason="DEPTH_EXCEEDED", message="no")
    assert here.seen() == {"p16_bounds"}


def test_a_call_too_deep_that_is_not_refused_is_seen() -> None:
    here = family()
    here.places[0] = replace(here.places[0], depth=3)
    assert here.seen() == {"p16_bounds"}
