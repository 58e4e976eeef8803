"""Settings that `heddle up` cannot serve by: an error with the setting and a remedy, exit code 3, and no traceback."""

from pathlib import Path

import pytest

from tests.kit.cli import start

SPAWN_KEPT = {"HEDDLE_SPAWN_REQUESTS_KEPT": "PT1H"}
CAMPAIGN_NO_JSON = {"HEDDLE_CAMPAIGN_WEBHOOK_SECRETS": "{secret"}
NO_FILE = {"HEDDLE_NATS": "tls://127.0.0.1:1", "HEDDLE_BUS__CA_FILE": "/nowhere/ca.pem"}


async def refused(*arguments: str, env: dict[str, str]) -> str:
    """What is said on stderr by a server that does not start."""
    process = await start(*arguments, "--listen", "127.0.0.1:0", env=env)
    out, err = await process.communicate()
    assert process.returncode == 3, (out, err)
    assert b"Traceback" not in err and b"secret" not in err and not out
    return err.decode()


@pytest.mark.parametrize(
    ("env", "setting", "problem"),
    [
        (SPAWN_KEPT, "HEDDLE_SPAWN_REQUESTS_KEPT", "greater than or equal to 1 day"),
        (CAMPAIGN_NO_JSON, "HEDDLE_CAMPAIGN_WEBHOOK_SECRETS", "is no JSON"),
        (NO_FILE, "HEDDLE_BUS__CA_FILE", "/nowhere/ca.pem: No such file"),
    ],
)
async def test_what_does_not_fit_is_named(env: dict[str, str], setting: str, problem: str, tmp_path: Path) -> None:
    without = ["--no-nats"] if "HEDDLE_NATS" not in env else []
    said = await refused("up", "--data-dir", str(tmp_path / "data"), *without, env=env)
    assert said.startswith("error: ") and setting in said.splitlines()[0] and problem in said.splitlines()[0]
    assert "  what to do: " in said


async def test_a_temporary_folder_with_too_long_a_path_is_named_with_its_variable(tmp_path: Path) -> None:
    folder = tmp_path / ("x" * 100)
    folder.mkdir()
    said = await refused("up", "--data-dir", str(tmp_path / "data"), "--no-nats", env={"TMPDIR": str(folder)})
    assert "a socket's path at most 107" in said and "what to do: set TMPDIR to a shorter path" in said
    assert not list(folder.iterdir())


async def test_what_the_runtime_itself_is_given_is_named_too(tmp_path: Path) -> None:
    data = ("--data-dir", str(tmp_path / "data"))
    said = await refused("up", *data, env={"HEDDLE_TOOLS__CREDENTIALS": "{secret"})
    assert "HEDDLE_TOOLS__CREDENTIALS: is no JSON" in said.splitlines()[0]
    said = await refused("up", *data, "--print-config", env={"HEDDLE_LIMITS__STEPS": "secret"})
    assert "HEDDLE_LIMITS__STEPS: input should be a valid integer" in said.splitlines()[0]
    said = await refused("up", *data, "--database", "mysql://secret@somewhere/heddle", env={})
    assert "(database: string should match pattern" in said.splitlines()[0]
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("more", [(), ("--no-nats",)])
async def test_a_data_folder_that_cannot_be_made_is_named(more: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    said = await refused("up", "--data-dir", str(tmp_path / "file" / "data"), *more, env={})
    assert said.splitlines()[-2:] == [
        f"error: data_dir cannot be served ({tmp_path / 'file' / 'data'}: Not a directory)",
        "  what to do: name a folder that this user may make and write to.",
    ]
