"""Settings that do not fit, of every service and every way to serve it: an error names them, and nothing is served."""

import asyncio
import json
import sys

import pytest

from tests.kit.cli import environment

PREFIXES = {"runtime": "HEDDLE_", "spawn": "HEDDLE_SPAWN_", "campaign": "HEDDLE_CAMPAIGN_"}


async def refused(*arguments: str, **env: str) -> str:
    """What is said on stderr by a process that does not serve."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *arguments),
        env=environment(env),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    said = err.decode()
    assert (process.returncode, out, said.count("\n")) == (3, b"", 1), said
    assert "secret" not in said
    return said


@pytest.mark.parametrize("service", PREFIXES)
async def test_a_module_that_is_run_names_what_does_not_fit(service: str) -> None:
    prefix = PREFIXES[service]
    said = await refused(f"heddle_{service}", **{f"{prefix}IDENTITY__JWT": "{secret"})
    assert said.startswith(f"heddle-{service}: ") and f"{prefix}IDENTITY__JWT: is no JSON" in said
    said = await refused(f"heddle_{service}", **{f"{prefix}ALLOW_PLAINTEXT": "secret", f"{prefix}LOG_LEVEL": "secret"})
    assert f"{prefix}ALLOW_PLAINTEXT: " in said and f"{prefix}LOG_LEVEL: " in said


@pytest.mark.parametrize("service", PREFIXES)
async def test_a_service_that_the_command_line_serves_names_what_does_not_fit(service: str) -> None:
    prefix = PREFIXES[service]
    said = await refused("heddle_cli", "serve", service, **{f"{prefix}IDENTITY__JWT": "{secret"})
    assert f"{prefix}IDENTITY__JWT: is no JSON" in json.loads(said)["error"]["problem"]
    misfits = {f"{prefix}ALLOW_PLAINTEXT": "secret", f"{prefix}LOG_LEVEL": "secret"}
    said = await refused("heddle_cli", "serve", service, "--print-config", **misfits)
    assert all(f"{name}: " in json.loads(said)["error"]["problem"] for name in misfits)
