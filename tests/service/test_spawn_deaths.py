"""The spawn service is killed at every step, and goes on where it was: one child a key, nobody waits for ever."""

import asyncio
import json
import random
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from heddle.runtime.v1.run_pb2 import RunState
from heddle.spawn.v1alpha1.spawn_pb2 import SpawnState
from heddle_client.stubs import RuntimeStubs
from heddle_grpc.channel import open_channel
from heddle_grpc.settings import ChannelSettings
from tests.kit.running_runtime import House
from tests.kit.running_spawn import Family, child_spec, introduce, met, served_runtime
from tests.kit.spawn_process import ServiceProcess, runtime_process, spawn_process
from tests.kit.tool_servers import ToolServer

pytestmark = pytest.mark.slow

SIGKILLED = -9

SCENARIO = """
turns:
  - when: {user: "delegate one"}
    steps:
      - calls:
          - tool: spawn_agent
            arguments: {agent: worker, task: "single"}
      - text: "{{tool.spawn_agent}}"
  - when: {user: "delegate many"}
    steps:
      - calls:
          - tool: spawn_group
            arguments:
              stages: [[{agent: worker, task: a}, {agent: second, task: b}], [{agent: third, task: c}]]
      - text: "{{tool.spawn_group}}"
  - when: {user: "slow"}
    steps:
      - text: "one two three four five six seven eight"
        stream: {pieces: words, delay_ms: 40}
  - steps:
      - text: "{{user}} is done"
"""

POINTS = ("spawn_unanswered", "child_fixed", "child_made", "child_done", "child_end_recorded", "parent_told")
GROUP_POINTS = (*POINTS, "stage_opened", "group_end_recorded")


@asynccontextmanager
async def mortal(folder: Path, failpoint: str = "") -> AsyncGenerator[tuple[Family, ServiceProcess]]:
    """A runtime here and a spawn service elsewhere, which serves until it comes to the failpoint."""
    async with (
        served_runtime(folder, SCENARIO) as (address, house),
        spawn_process(folder, address, SWEEP_EVERY="PT1S") as process,
    ):
        await process.start(failpoint)
        await introduce(house, process.address, ("worker", "second", "third"))
        async with met(house, address, process.address) as here:
            yield here, process


async def settle(here: Family, run_id: str) -> None:
    """Check what must hold of a parent and its children once all is over."""
    children = await here.children(run_id)
    assert {each.run_id for each in children} == {each.run_id for each in await here.runs_under(run_id)}
    assert len({each.spec.spawn_key for each in children}) == len(children)
    assert all(each.state >= SpawnState.SPAWN_STATE_COMPLETED for each in children)


@pytest.mark.parametrize("point", POINTS)
async def test_killed_at_a_step_of_one_child_it_goes_on(tmp_path: Path, point: str) -> None:
    async with mortal(tmp_path, f"{point}:kill") as (here, process):
        parent = await here.lead("delegate one", wait=0)
        assert await process.died() == SIGKILLED
        await process.start()
        run = await here.ended(parent.run_id, 80)
        assert run.state == RunState.RUN_STATE_COMPLETED
        assert json.loads(run.result.parts[0].text)["result"] == "single is done"
        (child,) = await here.runs_under(parent.run_id)
        assert child.state == RunState.RUN_STATE_COMPLETED
        await here.settled(spawn_id=(await here.children(parent.run_id))[0].spawn_id)
        await settle(here, parent.run_id)


@pytest.mark.parametrize("point", GROUP_POINTS)
async def test_killed_at_a_step_of_a_group_it_goes_on(tmp_path: Path, point: str) -> None:
    async with mortal(tmp_path, f"{point}:kill") as (here, process):
        parent = await here.lead("delegate many", wait=0)
        assert await process.died() == SIGKILLED
        await process.start()
        run = await here.ended(parent.run_id, 80)
        told = json.loads(run.result.parts[0].text)
        assert [each["result"] for each in told["children"]] == ["a is done", "b is done", "c is done"]
        await here.settled(group_id=told["group_id"])
        await settle(here, parent.run_id)


async def test_a_hundred_children_survive_kills_at_any_moment(tmp_path: Path) -> None:
    """Parents that delegate and roots by the RPC, beside a service that is killed again and again."""
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    async with mortal(tmp_path) as (here, process):
        parents = [(await here.lead("delegate many", wait=0)).run_id for _ in range(20)]
        roots: list[str] = []
        for round_number in range(4):
            for number in range(10):
                key = f"root-{round_number}-{number}"
                roots.append(await accepted(here, key))
            await asyncio.sleep(chance.uniform(0.0, 0.8))
            await process.kill()
            await process.start()
        for parent in parents:
            run = await here.ended(parent, 60)
            assert json.loads(run.result.parts[0].text.removeprefix("[ERROR] "))["state"] == "COMPLETED"
        for root in roots:
            settled = await here.settled(spawn_id=root)
            assert settled.state == SpawnState.SPAWN_STATE_COMPLETED
        assert len(set(roots)) == 40
        for parent in parents:
            assert len(await here.runs_under(parent)) == 3
            await settle(here, parent)


async def test_parents_and_children_survive_kills_of_the_runtime(tmp_path: Path) -> None:
    """Intents, deferrals and ends fall into the gaps: the calls are sent again, and find the children of the first."""
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    async with (
        runtime_process(tmp_path, SCENARIO) as runtime,
        spawn_process(tmp_path, runtime.address, SWEEP_EVERY="PT1S") as process,
    ):
        await runtime.start()
        await process.start()
        channel = open_channel(ChannelSettings(address=runtime.address, attempts=5))
        house = House(RuntimeStubs.on(channel), ToolServer(), tmp_path)
        await introduce(house, process.address, ("worker", "second", "third"))
        async with met(house, runtime.address, process.address) as here:
            parents = [(await here.lead("delegate many", wait=0)).run_id for _ in range(8)]
            for _ in range(3):
                await asyncio.sleep(chance.uniform(0.0, 0.5))
                await runtime.kill()
                await runtime.start()
            await channel.close()
            channel = open_channel(ChannelSettings(address=runtime.address))
            here.house.stubs = RuntimeStubs.on(channel)
            for parent in parents:
                run = await here.ended(parent, 80)
                assert json.loads(run.result.parts[0].text.removeprefix("[ERROR] "))["state"] == "COMPLETED"
                assert len(await here.runs_under(parent)) == 3
            for parent in parents:
                children = await here.children(parent)
                await here.settled(group_id=children[0].group_id)
                await settle(here, parent)
        await channel.close()


async def accepted(here: Family, key: str) -> str:
    """Start a root child, as a client that sends again what was not answered."""
    from heddle_core.faults import HeddleError, StatusCode

    for _ in range(50):
        try:
            return (await here.spawn(child_spec(key, "slow"), request_id=f"req-{key}")).spawn_id
        except HeddleError as error:
            assert error.status is StatusCode.UNAVAILABLE, error
    raise AssertionError("never accepted")
