"""The fault suite's own parts: failpoints are where they are said to be, and planted faults still fit the code."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from heddle_core import failpoints
from tests.faults.cells import cells
from tests.faults.model_server import answer, problem
from tests.faults.planting import PATCHES, Mutant, mutants
from tests.faults.promises import ELSEWHERE, PROMISES, checks_of, mutants_of
from tests.faults.temper import ACTIONS, PLANS

ROOT = Path(__file__).parents[2]
_CALL = re.compile(r"failpoint\(\"(\w+)\"\)")


@pytest.mark.parametrize("mutant", list(mutants()), ids=lambda mutant: mutant.name)
def test_every_planted_fault_fits_the_code(mutant: Mutant, tmp_path: Path) -> None:
    named = re.findall(r"^\+\+\+ b/(.+)$", mutant.patch.read_text(), re.MULTILINE)
    for path in named:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    mutant.plant(tmp_path)
    assert all((tmp_path / path).read_text() != (ROOT / path).read_text() for path in named)
    for path in named:
        compile((tmp_path / path).read_text(), path, "exec")


def test_every_patch_is_planted_and_there_are_at_least_fifteen() -> None:
    planted = {mutant.patch for mutant in mutants()}
    assert planted == set(PATCHES.glob("*.patch"))
    assert len(planted) >= 15


@pytest.mark.parametrize("promise", sorted(checks_of()))
def test_there_is_a_planted_fault_for_each_promise_that_is_checked(promise: str) -> None:
    assert mutants_of().get(promise), f"no fault breaks {promise}, so nobody knows whether its checks see anything"


def test_each_promise_is_checked_here_or_said_to_be_checked_elsewhere() -> None:
    assert set(checks_of()) == set(PROMISES) - set(ELSEWHERE)
    assert list(PROMISES) == [f"P{number}" for number in range(1, 22)]


def test_every_planted_fault_names_a_cell() -> None:
    known = {cell.full_name for cell in cells()}
    assert {mutant.cell for mutant in mutants()} <= known


def test_cells_have_names_of_their_own() -> None:
    names = [cell.full_name for cell in cells()]
    assert len(names) == len(set(names))


def test_every_failpoint_is_known_and_every_known_one_is_placed() -> None:
    placed = {name for part in ("libs", "services") for file in (ROOT / part).rglob("*.py") for name in _names_in(file)}
    assert placed == set(failpoints.POINTS)


def test_an_unarmed_process_passes_every_place() -> None:
    failpoints.arm("")
    assert not failpoints.armed()
    failpoints.failpoint("nowhere")


@pytest.mark.parametrize("told", ["nowhere:kill", "drain:explode", "drain:kill:often", "drain"])
def test_a_place_or_action_that_is_not_known_is_refused(told: str) -> None:
    with pytest.raises(ValueError, match=r"drain|nowhere|often"):
        failpoints.arm(told)


def test_a_process_ends_at_the_pass_that_it_was_told() -> None:
    passes = "from heddle_core.failpoints import arm, failpoint\narm('drain:exit:3')\n" + (
        "for n in range(5):\n    print(n, flush=True)\n    failpoint('drain')\n"
    )
    done = _python(passes)
    assert (done.returncode, done.stdout.split()) == (failpoints.EXIT_CODE, ["0", "1", "2"])


def test_a_killed_process_says_nothing_more() -> None:
    done = _python("from heddle_core.failpoints import arm, failpoint\narm('drain:kill')\nfailpoint('drain')\nprint(1)")
    assert (done.returncode, done.stdout) == (-9, "")


def test_an_armed_process_refuses_a_place_that_is_not_known() -> None:
    done = _python("from heddle_core.failpoints import arm, failpoint\narm('drain:kill')\nfailpoint('nowhere')")
    assert "KeyError" in done.stderr


def test_what_clients_do_has_a_weight_and_every_plan_ends_with_words() -> None:
    assert all(weight > 0 for _, weight in PLANS)
    leant = {name for cell in cells() for name, weight in cell.temper.actions if weight > 0}
    assert leant == {name for name, _ in ACTIONS}
    assert all(plan.endswith("say") for plan, _ in PLANS)


CALLING = {"role": "assistant", "tool_calls": [{"id": "a"}, {"id": "b"}]}
ASKED = {"role": "user", "content": "q1 plan=write/say words=2 pace=0"}


@pytest.mark.parametrize(
    "messages",
    [
        [ASKED, CALLING],
        [ASKED, CALLING, {"role": "tool", "tool_call_id": "a"}, ASKED],
        [ASKED, {"role": "tool", "tool_call_id": "a"}],
        [ASKED, {"role": "assistant", "tool_calls": [{"id": "a"}, {"id": "a"}]}],
        [ASKED, CALLING, *({"role": "tool", "tool_call_id": each} for each in "aab")],
    ],
)
def test_the_model_refuses_a_history_in_which_a_call_has_not_its_one_result(messages: list[dict[str, object]]) -> None:
    assert problem(messages)


def test_the_model_carries_out_one_step_of_the_plan_with_each_answer() -> None:
    words, calls, _ = answer([ASKED])
    assert [call["function"]["name"] for call in calls] == ["write"]
    words, calls, _ = answer([ASKED, {"role": "assistant"}, {"role": "tool", "tool_call_id": "a"}])
    assert (words, calls) == (["q1/1", " warp", " wéft"], [])


def _names_in(file: Path) -> list[str]:
    return _CALL.findall(file.read_text(encoding="utf-8"))


def _python(code: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "libs")}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
