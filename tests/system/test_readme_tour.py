"""The README's tour, as it is written there, against a server that was just started."""

import asyncio
import os
import re
import sys
from pathlib import Path

from tests.kit.cli import ROOT, environment, shared_up

TOUR = re.compile(r"^```sh tour\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """The tour's commands, lines that end in a backslash joined with the next."""
    blocks = TOUR.findall((ROOT / "README.md").read_text())
    return [line for block in blocks for line in block.replace("\\\n", " ").splitlines() if line.strip()]


async def shell(command: str, address: str, folder: Path) -> tuple[int, str]:
    tools = str(Path(sys.executable).parent)
    env = environment({"HEDDLE_ADDRESS": address, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"})
    process = await asyncio.create_subprocess_shell(
        command.replace("127.0.0.1:7233", address),
        env=env,
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


async def test_the_tour_of_the_readme_works_as_it_is_written(tmp_path: Path) -> None:
    found = commands()
    assert len(found) >= 6, "the README has lost its tour"
    with shared_up() as address:
        said = {}
        for command in found:
            code, out = await shell(command, address, tmp_path)
            assert code == 0, f"{command}\n{out}"
            said[command] = out
    everything = "\n".join(said.values())
    assert "Hello from the README" in everything
    assert "Which platform" in said["heddle answer"], "the agent's question should be in the inbox"
    assert '"threadId"' in everything, "the snapshot should name its thread"
