"""The commands of the page for those who run Heddle, as they are written there, beside a server and after its end."""

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

from tests.kit.cli import ROOT, environment, heddle, up

BLOCK = re.compile(r"^```sh ([^\n]+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def commands(when: str) -> list[str]:
    blocks = BLOCK.findall((ROOT / "docs" / "operations.md").read_text(encoding="utf-8"))
    return [line for told, block in blocks if told == when for line in block.splitlines() if line.strip()]


async def shell(command: str, folder: Path) -> tuple[int, str]:
    tools = str(Path(sys.executable).parent)
    process = await asyncio.create_subprocess_shell(
        command,
        env=environment({"PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode()


@pytest.mark.slow
async def test_the_page_for_those_who_run_heddle_is_right(tmp_path: Path) -> None:
    beside, after = commands("while it serves"), commands("after the server is gone")
    assert len(beside) >= 4 and len(after) >= 8, "the page has lost its commands"
    said: dict[str, str] = {}
    async with up("--data-dir", str(tmp_path / "data"), "--no-nats") as (address, _):
        for text in ("hello", "hello again"):
            assert (await heddle("run", text, "--thread", "notes", address=address)).code == 0
        for command in beside:
            code, said[command] = await shell(command, tmp_path)
            assert code == 0, f"{command}\n{said[command]}"
    for command in after:
        code, said[command] = await shell(command, tmp_path)
        assert code == 0, f"{command}\n{said[command]}"
    assert "all is well: 1 threads" in said["heddle verify --data-dir data"]
    assert "epoch" in said["heddle restore monday.db --data-dir restored"]
