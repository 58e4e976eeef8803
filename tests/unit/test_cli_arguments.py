"""What is typed, and what it means: options, answers, agents' files, errors, the lines of `buf curl`."""

import json
import shlex
from pathlib import Path

import pytest
import typer

from heddle.runtime.v1.agent_pb2 import ApprovalPolicy
from heddle.runtime.v1.input_pb2 import ApprovalScope, InputAnswer, InputDecision, InputOption, InputRequest
from heddle.runtime.v1.run_pb2 import Run
from heddle.runtime.v1.run_service_pb2 import GetRunRequest, ListRunsResponse
from heddle_cli import arguments, asking
from heddle_cli.agent_files import read_agent
from heddle_cli.commands.answer import Given
from heddle_cli.commands.explain import told_reason
from heddle_cli.commands.up import greeting
from heddle_cli.display.screen import Screen
from heddle_cli.faults import ExitCode, code_of, problem_and_remedy, told_to_people, told_to_programs
from heddle_cli.options import DEFAULT_ADDRESS
from heddle_cli.paging import collect
from heddle_cli.requests import curl_line
from heddle_cli.root import COMMANDS, build, load
from heddle_cli.version import version_of_heddle
from heddle_core.errors import CannotServe, ServiceUnreachable, invalid
from heddle_core.reasons import all_reasons
from heddle_core.runtime_errors import RunNotFound


@pytest.mark.parametrize("name", COMMANDS)
def test_the_line_in_the_list_is_the_first_line_of_the_command(name: str) -> None:
    command = load(name, [])
    if not getattr(command, "commands", None):
        assert command.help.splitlines()[0] == COMMANDS[name]


def heddle(line: str) -> int:
    """Run a command in this process; its exit code."""
    try:
        code: int | None = build()(shlex.split(line), prog_name="heddle", standalone_mode=False)
    except SystemExit as left:
        return int(left.code or 0)
    return code or 0


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert heddle("--help") == 0
    told = capsys.readouterr().out
    assert all(f"\n  {name} " in told for name in COMMANDS)


def test_version_tells_the_version_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert heddle("--version") == 0
    assert capsys.readouterr().out == f"heddle {version_of_heddle()}\n"


@pytest.mark.parametrize(
    "line", ["--json explain THREAD_BUSY", "explain THREAD_BUSY --json", "explain --json THREAD_BUSY"]
)
def test_shared_options_stand_before_or_after_the_name(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert heddle(line) == 0
    assert json.loads(capsys.readouterr().out)["status"] == "FAILED_PRECONDITION"


def test_the_option_after_the_name_wins(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert heddle(f"--address unix:{tmp_path}/one runs list --address unix:{tmp_path}/two") == ExitCode.UNREACHABLE
    told = capsys.readouterr().err
    assert f"unix:{tmp_path}/two" in told
    assert f"unix:{tmp_path}/one" not in told


@pytest.mark.parametrize("reason", all_reasons())
def test_every_reason_can_be_explained(reason: str) -> None:
    told = told_reason(all_reasons()[reason])
    assert told["reason"] == reason
    assert "{" not in told["message"]
    assert told["retry"]


def test_an_error_is_told_as_problem_remedy_and_reason() -> None:
    assert told_to_people(RunNotFound("run_1")) == [
        "error: No run run_1 here",
        "  what to do: check the id, and that the credential belongs to its tenant.",
        "  reason: RUN_NOT_FOUND (NOT_FOUND); `heddle explain RUN_NOT_FOUND` tells more",
    ]
    problem, remedy = problem_and_remedy(invalid("turn.content", "must not be empty"))
    assert "not accepted" in problem
    assert remedy == "turn.content: must not be empty"


def test_what_keeps_a_server_from_starting_is_told_without_a_reason_that_nobody_could_explain() -> None:
    error = CannotServe("bus.ca_file", "/ca.pem: No such file or directory", "name another")
    assert told_to_people(error) == [
        "error: bus.ca_file cannot be served (/ca.pem: No such file or directory)",
        "  what to do: name another.",
    ]
    assert json.loads(told_to_programs(error))["error"]["remedy"] == "name another."
    assert code_of(error) is ExitCode.HEDDLE_ERROR


def test_unreachable_has_an_exit_code_of_its_own() -> None:
    assert code_of(ServiceUnreachable("here", "refused")) == ExitCode.UNREACHABLE == 4
    assert code_of(RunNotFound("r")) == ExitCode.HEDDLE_ERROR == 3


def test_a_call_is_shown_as_a_line_for_the_shell_without_its_secret() -> None:
    line = curl_line("127.0.0.1:1", "/p.S/M", GetRunRequest(run_id="it's"), token=True)
    assert '"authorization: Bearer $HEDDLE_TOKEN"' in line
    words = shlex.split(line)
    assert json.loads(words[words.index("--data") + 1]) == {"run_id": "it's"}
    assert words[-1] == "http://127.0.0.1:1/p.S/M"
    assert "--unix-socket" in curl_line("unix:/tmp/s", "/p.S/M", GetRunRequest())


@pytest.mark.parametrize(
    ("typed", "expected"),
    [("b", ["b"]), ("2", ["b"]), ("A, b", ["a", "b"]), ("3", "choose one of: a, b"), ("", "nothing was typed")],
)
def test_a_typed_choice_is_a_value_a_number_or_refused(typed: str, expected: object) -> None:
    asked = InputRequest(options=[InputOption(value="a"), InputOption(value="b")])
    answer = asking.choice(asked, typed)
    assert (list(answer.options) if isinstance(answer, InputAnswer) else answer) == expected


def test_free_text_is_taken_where_it_is_welcome_and_json_where_it_is_wanted() -> None:
    free = InputRequest(options=[InputOption(value="a")], free_text=True)
    assert asking.choice(free, "something else") == asking.said("something else")
    schema = InputRequest(json_schema='{"type": "object"}')
    assert asking.choice(schema, '{"a": 1}') == asking.said(json_text='{"a": 1}')
    assert asking.choice(schema, "{a}") == "this is no JSON"


def given(**typed: object) -> Given:
    nothing: dict[str, object] = {
        "approve": False,
        "deny": False,
        "for_thread": False,
        "text": "",
        "options": [],
        "json_text": "",
        "edit": False,
    }
    return Given(**{**nothing, **typed})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "typed",
    [
        {"approve": True, "deny": True},
        {"approve": True, "text": "because"},
        {"deny": True, "options": ["a"]},
        {"for_thread": True},
        {"edit": True, "json_text": "{}"},
    ],
)
def test_answers_that_contradict_themselves_are_wrong_usage(typed: dict[str, object]) -> None:
    with pytest.raises(typer.BadParameter):
        given(**typed).check(has_input=True)


def test_an_approval_can_count_for_the_thread_and_carry_arguments() -> None:
    answer = given(approve=True, for_thread=True, json_text='{"a":1}').answer(Screen(), InputRequest())
    assert answer is not None
    assert answer.decision == InputDecision.INPUT_DECISION_APPROVE
    assert answer.scope == ApprovalScope.APPROVAL_SCOPE_THREAD
    assert answer.edited_arguments_json == '{"a":1}'


def test_an_agent_is_read_from_yaml_with_short_names() -> None:
    text = "agent_id: a1\napproval_policy: writes\ntools: [x/y]\nlimits: {steps: 3, wall_time: 60s}\ntemperature: 0.5"
    name, spec = read_agent(text, "a.yaml")
    assert (name, list(spec.tools), spec.limits.steps, spec.limits.wall_time.seconds) == ("a1", ["x/y"], 3, 60)
    assert spec.approval_policy == ApprovalPolicy.APPROVAL_POLICY_WRITES
    assert read_agent(text, "a.yaml", "a2")[0] == "a2"


@pytest.mark.parametrize(
    "text", ["tools: []", "agent_id: a\nnonsense: 1", "- a", "agent_id: [", "agent_id: a\ntools: 3"]
)
def test_a_file_that_is_no_agent_is_refused_by_its_name(text: str) -> None:
    with pytest.raises(typer.BadParameter, match=r"a\.yaml"):
        read_agent(text, "a.yaml")


def test_labels_are_pairs() -> None:
    assert arguments.labels(["a=b", "c=d=e"]) == {"a": "b", "c": "d=e"}
    with pytest.raises(typer.BadParameter):
        arguments.labels(["a"])


def test_times_without_a_zone_are_utc() -> None:
    assert arguments.time("2026-11-23").isoformat() == "2026-11-23T00:00:00+00:00"
    with pytest.raises(typer.BadParameter):
        arguments.time("yesterday")


async def test_pages_are_collected_up_to_the_limit() -> None:
    asked: list[tuple[int, str]] = []

    async def page(size: int, token: str) -> ListRunsResponse:
        asked.append((size, token))
        first = int(token or 0)
        count = min(size, 2)
        return ListRunsResponse(
            runs=[Run(run_id=str(each)) for each in range(first, first + count)], next_page_token=str(first + count)
        )

    found = await collect(page, "runs", most=5)
    assert [each.run_id for each in found.runs] == ["0", "1", "2", "3", "4"]
    assert found.next_page_token == "5"
    assert asked == [(5, ""), (3, "2"), (1, "4")]


def test_the_greeting_says_where_with_what_and_what_next() -> None:
    told = "\n".join(greeting("127.0.0.1:9", Path("x"), "stays", "scripted:hello", development=True))
    assert "127.0.0.1:9" in told
    assert "heddle chat --address 127.0.0.1:9" in told
    assert "local:smollm2" in told
    assert "not for production" in told
    quiet = "\n".join(greeting(DEFAULT_ADDRESS, Path("x"), "stays", "openai:gpt-5", development=False))
    assert "--address" not in quiet
    assert "production" not in quiet
