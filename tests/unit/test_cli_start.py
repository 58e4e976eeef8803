"""What a start does not wait for: `heddle --help` reads one text, and a server loads nothing that it may not need."""

import subprocess
import sys

import pytest

from heddle_cli.help_page import help_page
from heddle_cli.root import build

RARE = {"alembic", "asyncpg", "grpc_channelz", "httpx", "joserfc", "prometheus_client", "rich", "sqlalchemy"}
"""Each costs between 5 and 200 ms, and is loaded on the path that needs it."""


def loaded(code: str) -> set[str]:
    """The packages that are there after `code`, in a process of its own."""
    said = subprocess.run(
        [sys.executable, "-c", f"{code}\nimport sys; print(*sys.modules)"], check=True, capture_output=True, text=True
    )
    return {name.partition(".")[0] for name in said.stdout.splitlines()[-1].split()}


@pytest.mark.parametrize("asked", ["--help", "-h"])
def test_the_page_is_what_typer_would_print(
    asked: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit):
        build()(["--help"], prog_name="heddle")
    printed = capsys.readouterr().out
    assert help_page([asked]) == printed
    monkeypatch.setenv("COLUMNS", "200")
    assert help_page([asked]) == printed


@pytest.mark.parametrize("arguments", [[], ["up", "--help"], ["--json", "--help"], ["--version"]])
def test_whatever_else_is_asked_typer_answers(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert help_page(arguments) == ""


def test_a_narrow_terminal_gets_a_page_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "79")
    assert help_page(["--help"]) == ""


def test_completion_is_no_question_for_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("_HEDDLE_COMPLETE", "complete_bash")
    assert help_page(["--help"]) == ""


def test_help_loads_neither_typer_nor_grpc() -> None:
    found = loaded("import sys; sys.argv = ['heddle', '--help']\nfrom heddle_cli.__main__ import main; main()")
    assert "heddle_cli" in found
    assert not {"typer", "grpc", "pydantic", "asyncio"} & found


def test_a_server_loads_nothing_that_only_a_rare_path_needs() -> None:
    found = loaded("import heddle_cli.commands.up, heddle_cli.serving, heddle_runtime.wiring.runtime")
    assert {"grpc", "heddle_runtime", "pydantic"} <= found
    assert not RARE & found
