"""docs/campaigns.md: its commands work as they are written, with the example campaign and the scripted model."""

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.kit.cli import ROOT, environment, heddle, start, up

PAGE = (ROOT / "docs" / "campaigns.md").read_text()


def commands(kind: str) -> list[str]:
    found = re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert found, f"the page has lost its {kind}"
    return [line for block in found for line in block.splitlines() if line.strip()]


async def shell(command: str, address: str) -> str:
    tools = str(Path(sys.executable).parent)
    env = environment({"HEDDLE_ADDRESS": address, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"})
    process = await asyncio.create_subprocess_shell(
        command, env=env, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await process.communicate()
    assert process.returncode == 0, f"{command}\n{err.decode()}"
    return out.decode()


@asynccontextmanager
async def watching(address: str) -> AsyncGenerator[AsyncGenerator[dict[str, Any]]]:
    """The campaign's states, as `heddle campaign watch` tells them; Ctrl-C in the end."""
    process = await start("campaign", "watch", "trail-shoes", "--json", env={"HEDDLE_ADDRESS": address})

    async def states() -> AsyncGenerator[dict[str, Any]]:
        async for line in process.stdout:
            yield json.loads(line)

    try:
        yield states()
    finally:
        process.send_signal(2)
        await process.communicate()
    assert process.returncode == 130


async def ended(states: AsyncGenerator[dict[str, Any]], cycles: int) -> list[dict[str, Any]]:
    """The cycles once so many are over, newest first."""
    seen: dict[str, Any] = {}
    try:
        async with asyncio.timeout(90):
            async for seen in states:
                if len(seen["recent_cycles"]) == cycles and not seen["open_cycles"]:
                    return list(seen["recent_cycles"])
    except TimeoutError:
        raise AssertionError(f"{cycles} cycles were not over in time; last seen: {seen}") from None
    raise AssertionError("the stream has ended")


@pytest.mark.timeout(240)
async def test_the_commands_of_the_page_work_and_what_is_learned_is_given_to_the_next_cycle() -> None:
    async with up("--ephemeral", "--model", "scripted:campaign") as (address, _):
        said = {command: await shell(command, address) for command in commands("sh campaigns")}
        assert "+ campaign trail-shoes" in said["heddle apply -f examples/campaigns/trail-shoes --dry-run"]
        assert "active" in said["heddle campaign show trail-shoes"]
        assert said["heddle campaign preview trail-shoes -n 3"].count("T08:30:00") == 3
        async with watching(address) as states:
            (first,) = await ended(states, 1)
            assert first["state"] == "CYCLE_STATE_COMPLETED"
            told = "\n".join([await shell(command, address) for command in commands("sh campaigns done")])
            assert first["cycle_id"] in told
            assert "Name one thing that readers can try at once." in told
            rain = [await shell(command, address) for command in commands("sh campaigns signal")]
            assert "fired" in rain[0]
            assert "duplicate" in rain[1]
            second, _ = await ended(states, 2)
        assert second["evidence"]["kind"] == "weather"
        learned = (await heddle("campaign", "memories", "trail-shoes", "--json", address=address)).json["memories"]
        by_id = {each["memory_id"]: each for each in learned}
        given = [each["memory_id"] for each in second["turns"][0]["memories"]]
        assert given
        cited = {by_id[each]["citation"]["run_id"] for each in given}
        assert cited == {first["turns"][0]["run_id"]}
        again = await heddle("apply", "-f", str(ROOT / "examples/campaigns/trail-shoes"), "--json", address=address)
        assert {step["action"] for step in again.json["steps"]} == {"unchanged"}


async def test_a_campaign_is_changed_pruned_and_made_again_on_the_real_service(tmp_path: Path) -> None:
    folder = tmp_path / "trail-shoes"
    folder.mkdir()
    for file in (ROOT / "examples" / "campaigns" / "trail-shoes").iterdir():
        (folder / file.name).write_text(file.read_text())
    campaign = folder / "campaign.yaml"
    text = campaign.read_text()
    async with up("--ephemeral", "--no-nats", "--model", "scripted:campaign") as (address, _):

        async def apply(*options: str) -> Any:
            return await heddle("apply", "-f", str(folder), *options, address=address)

        assert (await apply()).err.strip() == "trail-shoes: 3 created"
        campaign.write_text(text.replace("30 8 * * MON,THU", "30 8 * * TUE").replace("25.00 USD", "30.00 USD"))
        changed = await apply("--json")
        fields = {each["field"]: each["after"] for each in changed.json["steps"][-1]["fields"]}
        assert fields == {"schedule.cron": "30 8 * * TUE", "budget": "30.00 USD"}
        assert (await apply()).err.strip() == "trail-shoes: 3 unchanged"

        campaign.write_text(text.replace("30 8 * * MON,THU", "30 25 * * *"))
        refused = await apply()
        assert refused.code == 3
        line = next(number for number, each in enumerate(text.splitlines(), 1) if "cron:" in each)
        assert f"{campaign}:{line}: schedule.cron:" in refused.err

        campaign.unlink()
        assert (await apply("--prune", "--yes")).err.strip() == "trail-shoes: 2 unchanged, 1 removed"
        assert (await heddle("campaign", "show", "trail-shoes", address=address)).code == 3
        campaign.write_text(text)
        assert (await apply()).err.strip() == "trail-shoes: 1 created, 2 unchanged"
        assert "active" in (await heddle("campaign", "show", "trail-shoes", address=address)).out
