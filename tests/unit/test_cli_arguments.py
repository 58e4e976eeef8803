"""What is typed, and what it means: options, answers, agents' files, errors, the lines of `buf curl`."""

import json
import shlex
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from heddle.runtime.v1.agent_pb2 import ApprovalPolicy
from heddle.runtime.v1.input_pb2 import ApprovalScope, InputAnswer, InputDecision, InputOption, InputRequest
from heddle.runtime.v1.run_service_pb2 import GetRunRequest, ListRunsResponse
from heddle.runtime.v1.run_pb2 import Run
from heddle_cli import arguments, asking
from heddle_cli.agent_files import read_agent
from heddle_cli.commands.answer import Given
from heddle_cli.commands.explain import told_reason
from heddle_cli.commands.up import greeting
from heddle_cli.display.screen import Screen
from heddle_cli.faults import ExitCode, code_of, problem_and_remedy, told_to_people
from heddle_cli.options import Options, options_of
from heddle_cli.paging import collect
from heddle_cli.requests import curl_line
from heddle_cli.root import COMMANDS, build, load
from heddle_core.errors import RunNotFound, ServiceUnreachable, invalid
from heddle_core.faults import all_reasons


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_in_the_list_is_the_first_line_of_the_command(name: str) -> None:
    command = load(name, [])
    if not getattr(command, "commands", None):
        assert command.help.splitlines()[0] == COMMANDS[name]


def test_help_names_every_command_without_reading_any() -> None:
    told = CliRunner().invoke(typer_of(build()), ["--help"])
    assert told.exit_code == 0
    assert all(name in told.output for name in COMMANDS)


@pytest.mark.parametrize(
    "line",
    ["--json --address here:1 probe", "probe --json --address here:1", "--address other:2 probe --json --address here:1"],
)
def test_shared_options_stand_before_or_after_the_name(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Options] = []

    def probe(context: typer.Context) -> None:
        seen.append(options_of(context))

    root: Any = build()
    root.resolve_command = lambda ctx, args: ("probe", _with_shared(root, probe), args[1:])
    monkeypatch.delenv("HEDDLE_ADDRESS", raising=False)
    root(shlex.split(line), standalone_mode=False)
    assert seen == [Options(address="here:1", machine=True)]


def _with_shared(root: Any, function: Any) -> Any:
    import types

    module = types.SimpleNamespace(COMMANDS={"probe": function})
    return load("cancel", [each for each in root.params if each.name != "version"], module)


def typer_of(command: Any) -> Any:
    app = typer.Typer()
    app.command()(lambda: None)
    return command and app
