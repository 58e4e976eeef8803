"""Delegation as it comes with `heddle up`: the tools are there, the examples of the page work, and `heddle spawn`."""

import asyncio
import json
import re
import sys
from collections.abc import Generator
from typing import Any

import pytest

from tests.kit.cli import ROOT, Answer, environment, heddle, up

PAGE = (ROOT / "docs" / "spawn.md").read_text()

HANGS = """
turns:
  - when: {user: "delegate"}
    steps:
      - calls:
          - tool: spawn_agent
            arguments: {agent: writer, task: "hang"}
      - text: "It came to nothing."
  - steps:
      - text: "I begin"
        fault: {kind: hang, after_deltas: 1}
"""


def blocks(kind: str) -> list[str]:
    """The code of a kind in the page."""
    found = re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"the page has lost its {kind}"
    return found


async def ok(*arguments: str, address: str) -> Answer:
    answer = await heddle(*arguments, address=address)
    assert answer.code == 0, answer.err
    return answer


async def program(code: str, address: str) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, env=environment({"HEDDLE_ADDRESS": address}), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert process.returncode == 0
    return out.decode()


async def ended(address: str, run_id: str) -> dict[str, Any]:
    """The run, watched to its end."""
    await ok("watch", run_id, "--events", address=address)
    return (await ok("runs", "show", run_id, "--json", address=address)).json


async def test_the_examples_of_the_page_work_as_they_are_written() -> None:
    async with up("--ephemeral", "--model", "scripted:delegate") as (address, _):
        (commands,) = blocks("sh spawn")
        run_line, list_line = commands.splitlines()
        assert run_line == 'heddle run --agent orchestrator "Launch: the new trail shoes"'
        await ok("run", "--agent", "orchestrator", "Launch: the new trail shoes", address=address)
        listed = await ok(*list_line.split()[1:], "--json", address=address)
        run_id = listed.json["runs"][0]["run_id"]
        run = await ended(address, run_id)
        assert run["state"] == "RUN_STATE_COMPLETED"
        assert "Wet rocks, dry feet: the new trail shoes." in run["result"]["parts"][0]["text"]
        tree = (await ok("spawn", "tree", run_id, address=address)).out
        assert [name in tree for name in ("researcher", "writer", "short-form")] == [True] * 3
        assert "1 tool call" in tree
        told = await program(blocks("python spawn")[0], address)
        assert told == blocks("text spawn")[0]


@pytest.fixture(name="scenario")
def written(tmp_path: Any) -> Generator[str]:
    file = tmp_path / "hangs.yaml"
    file.write_text(HANGS)
    yield f"scripted:{file}"


async def test_a_child_is_found_followed_and_cancelled_from_the_command_line(scenario: str) -> None:
    async with up("--ephemeral", "--model", scenario) as (address, _):
        started = (await ok("run", "--agent", "orchestrator", "delegate", "--json", address=address)).json
        run_id = started["run_id"]
        tree = (await ok("spawn", "tree", run_id, "--json", address=address)).json
        (child,) = tree["spawns"]
        cancelled = await ok("spawn", "cancel", child["spawn_id"], "--note", "enough", address=address)
        assert child["spawn_id"] in cancelled.out
        watched = await ok("spawn", "watch", child["spawn_id"], "--json", address=address)
        last = json.loads(watched.out.splitlines()[-1])["spawn"]
        assert last["state"] == "SPAWN_STATE_CANCELLED"
        assert last["failure"]["message"] == "developer cancelled it: enough"
        assert (await ended(address, run_id))["result"]["parts"][0]["text"] == "It came to nothing."
        unknown = await heddle("spawn", "cancel", "spn_nothing", address=address)
        assert unknown.code == 3
        assert "spn_nothing" in unknown.err
