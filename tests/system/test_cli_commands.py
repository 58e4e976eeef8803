"""The real command line against a real server, in processes of their own."""

import asyncio
import json
import shlex
import signal
import sys
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import yaml

from tests.kit.cli import ROOT, SCENARIOS, Answer, heddle, shared_up, start, up

AGENT = """
agent_id: {id}
description: Writes files.
instructions: Write.
tools: [builtin/write_file]
model: scripted:demo
"""
QUESTIONER = """
agent_id: {id}
tools: [builtin/ask_user]
model: scripted:choice
"""
BRIEF = (ROOT / "examples" / "briefs" / "trail-shoes.md").read_text()


@pytest.fixture(scope="module")
def address() -> Generator[str]:
    """A server that the tests share: they tell their threads and agents apart by ids."""
    with shared_up() as found:
        yield found


@pytest.fixture
async def own_address() -> AsyncGenerator[str]:
    async with up("--ephemeral") as (found, _):
        yield found


async def ok(*arguments: str, address: str, typed: str = "") -> Answer:
    answer = await heddle(*arguments, address=address, typed=typed)
    assert answer.code == 0, answer.err
    return answer


async def made_agent(address: str, folder: Path, text: str = AGENT) -> str:
    file = folder / "agent.yaml"
    file.write_text(text.format(id=f"agent-{uuid4().hex}"))
    made = (await ok("agents", "create", str(file), "--json", address=address)).json
    return made["agent_id"]


async def waiting_run(address: str, agent: str, said: str = BRIEF) -> tuple[dict[str, Any], dict[str, Any]]:
    """A run that waits, and the input that it waits for."""
    run = (await ok("run", said, "--agent", agent, "--json", address=address)).json
    assert run["state"] == "RUN_STATE_WAITING"
    inbox = (await ok("answer", "--json", address=address)).json["inputs"]
    return run, next(each for each in inbox if each["run_id"] == run["run_id"])


async def test_run_prints_the_answer_alone_on_stdout(address: str) -> None:
    answer = await ok("run", "good morning", address=address)
    assert answer.out.startswith("Hello. You said: good morning.")
    assert answer.out.count("\n") == 1
    assert "completed" in answer.err


async def test_run_reads_its_words_from_a_file_and_from_stdin(address: str, tmp_path: Path) -> None:
    file = tmp_path / "words.txt"
    file.write_text("from a file")
    assert "from a file" in (await ok("run", "-f", str(file), address=address)).out
    assert "from stdin" in (await ok("run", "-", address=address, typed="from stdin")).out


async def test_run_with_json_prints_the_finished_run(address: str) -> None:
    run = (await ok("run", "hi", "--label", "team=blue", "--thread", "mine", "--json", address=address)).json
    assert (run["state"], run["thread_id"], run["labels"]) == ("RUN_STATE_COMPLETED", "mine", {"team": "blue"})
    assert "hi" in run["result"]["parts"][0]["text"]


async def test_no_wait_returns_the_run_at_once_and_watch_follows_it_to_its_end(address: str) -> None:
    run = (await ok("run", "hello there", "--no-wait", "--json", address=address)).json
    followed = await ok("watch", run["run_id"], address=address)
    assert "Hello. You said: hello there." in followed.out
    frames = [
        json.loads(line) for line in (await ok("watch", run["run_id"], "--json", address=address)).out.splitlines()
    ]
    sequences = [int(event["sequence"]) for frame in frames for event in frame.get("events", {}).get("events", ())]
    assert sequences == sorted(set(sequences))
    facts = (await ok("watch", run["run_id"], "--events", address=address)).out
    assert "run_completed" in facts.splitlines()[-1]


async def test_a_failed_run_exits_with_one_and_says_why(address: str, tmp_path: Path) -> None:
    scenario = tmp_path / "refuses.yaml"
    scenario.write_text("steps: [{fault: {kind: refused, message: not today}}]")
    async with up("--ephemeral", "--model", f"scripted:{scenario}") as (refusing, _):
        answer = await heddle("run", "please", address=refusing)
    assert answer.code == 1
    assert "MODEL_REFUSED" in answer.err
    assert "not today" in answer.err


async def test_nobody_listening_exits_with_four_and_says_how_to_start(tmp_path: Path) -> None:
    answer = await heddle("threads", "list", address=f"unix:{tmp_path}/nobody")
    assert answer.code == 4
    assert "heddle up" in answer.err


async def test_an_unknown_id_exits_with_three_and_tells_reason_and_remedy(address: str) -> None:
    answer = await heddle("runs", "show", "run_0", address=address)
    assert answer.code == 3
    assert "what to do: check the id" in answer.err
    told = json.loads((await heddle("runs", "show", "run_0", "--json", address=address)).err)
    assert told["error"]["reason"] == "RUN_NOT_FOUND"


async def test_wrong_usage_exits_with_two() -> None:
    for wrong in (["run"], ["verify"], ["answer", "--approve"], ["runs", "list", "--state", "gone"], ["nothing"]):
        assert (await heddle(*wrong)).code == 2, wrong


async def test_an_approval_by_command_lets_the_run_write_its_file(address: str, tmp_path: Path) -> None:
    agent = await made_agent(address, tmp_path)
    run, asked = await waiting_run(address, agent)
    explained = await ok("explain", run["run_id"], address=address)
    assert asked["input_id"] in explained.out
    done = (await ok("answer", asked["input_id"], "--approve", "--json", address=address)).json
    assert done["input"]["state"] == "INPUT_STATE_APPROVED"
    followed = await ok("watch", run["run_id"], address=address)
    assert "Dear reader" in followed.out


async def test_a_denial_tells_the_agent_why(address: str, tmp_path: Path) -> None:
    agent = await made_agent(address, tmp_path)
    run, asked = await waiting_run(address, agent)
    await ok("answer", asked["input_id"], "--deny", "--text", "not on a Monday", address=address)
    events = (await ok("watch", run["run_id"], "--json", address=address)).out
    assert "TOOL_CALL_OUTCOME_DENIED" in events
    assert "not on a Monday" in events


async def test_edited_arguments_are_what_is_sent(address: str, tmp_path: Path) -> None:
    agent = await made_agent(address, tmp_path)
    run, asked = await waiting_run(address, agent)
    edited = tmp_path / "arguments.json"
    edited.write_text('{"path": "other.md", "content": "x"}')
    await ok("answer", asked["input_id"], "--approve", "--json-file", str(edited), address=address)
    events = (await ok("watch", run["run_id"], "--json", address=address)).out
    assert "other.md" in events


async def test_a_question_is_answered_by_an_option(address: str, tmp_path: Path) -> None:
    agent = await made_agent(address, tmp_path, QUESTIONER)
    run, asked = await waiting_run(address, agent, "write a draft about rain")
    assert [option["value"] for option in asked["options"]] == ["LinkedIn", "Instagram", "X"]
    await ok("answer", asked["input_id"], "--option", "Instagram", address=address)
    assert "Instagram" in (await ok("watch", run["run_id"], address=address)).out


async def test_an_answer_given_twice_is_refused_with_the_winner(address: str, tmp_path: Path) -> None:
    agent = await made_agent(address, tmp_path, QUESTIONER)
    _, asked = await waiting_run(address, agent, "write a draft about rain")
    await ok("answer", asked["input_id"], "--option", "X", address=address)
    late = await heddle("answer", asked["input_id"], "--option", "LinkedIn", address=address)
    assert late.code == 3
    assert "INPUT_ALREADY_RESOLVED" in late.err


async def test_cancel_stops_a_waiting_run(address: str, tmp_path: Path) -> None:
    agent = await made_agent(address, tmp_path)
    run, _ = await waiting_run(address, agent)
    assert "is stopped" in (await ok("cancel", run["run_id"], address=address)).out
    followed = await heddle("watch", run["run_id"], address=address)
    assert followed.code == 1
    assert "cancelled" in followed.err


async def test_control_c_cancels_the_run_and_tells_how_it_ended(address: str, tmp_path: Path) -> None:
    scenario = tmp_path / "hangs.yaml"
    scenario.write_text('steps: [{text: "one two three", fault: {kind: hang, after_deltas: 2}}]')
    async with up("--ephemeral", "--model", f"scripted:{scenario}") as (hanging, _):
        process = await start("run", "begin", env={"HEDDLE_ADDRESS": hanging})
        async with asyncio.timeout(60):
            await process.stdout.readexactly(len("one two"))
            process.send_signal(signal.SIGINT)
            _, err = await process.communicate()
    assert process.returncode == 1
    assert "cancelled: requested" in err.decode()


async def test_retry_with_other_words_supersedes_the_run(address: str) -> None:
    first = (await ok("run", "one", "--json", address=address)).json
    again = (await ok("retry", first["run_id"], "--text", "two", "--json", address=address)).json
    assert again["retry_of_run_id"] == first["run_id"]
    assert "You said: two" in again["result"]["parts"][0]["text"]
    assert (await ok("runs", "show", first["run_id"], "--json", address=address)).json["superseded_by_run_id"] == (
        again["run_id"]
    )


async def test_threads_are_renamed_pinned_archived_forked_and_removed(own_address: str) -> None:
    thread = (await ok("run", "begin", "--json", address=own_address)).json["thread_id"]
    renamed = (await ok("threads", "rename", thread, "A new name", "--json", address=own_address)).json
    assert renamed["settings"]["title"] == "A new name"
    assert (await ok("threads", "pin", thread, "--json", address=own_address)).json["settings"]["pinned"] is True
    fork = (await ok("threads", "fork", thread, "--json", address=own_address)).json["thread_id"]
    shown = await ok("threads", "show", fork, address=own_address)
    assert "begin" in shown.out
    await ok("threads", "archive", fork, address=own_address)
    listed = (await ok("threads", "list", "--json", address=own_address)).json["threads"]
    assert [each["thread_id"] for each in listed] == [thread]
    await ok("threads", "unarchive", fork, address=own_address)
    await ok("threads", "delete", fork, "--yes", address=own_address)
    gone = await heddle("threads", "show", fork, address=own_address)
    assert gone.code == 3


async def test_verify_checks_one_thread_and_all(own_address: str) -> None:
    threads = {(await ok("run", said, "--json", address=own_address)).json["thread_id"] for said in ("one", "two")}
    assert "verifies" in (await ok("verify", min(threads), address=own_address)).out
    lines = (await ok("verify", "--all", "--json", address=own_address)).out.splitlines()
    told = [json.loads(line) for line in lines]
    assert {each["thread_id"] for each in told} == threads
    assert all(each["verified"] for each in told)


async def test_an_exported_thread_replays_the_same_words(address: str, tmp_path: Path) -> None:
    first = (await ok("run", "good morning", "--json", address=address)).json
    await ok("run", "and good night {{user}}", "--thread", first["thread_id"], address=address)
    file = tmp_path / "replay.yaml"
    await ok("export", first["thread_id"], "-o", str(file), address=address)
    assert len(yaml.safe_load(file.read_text())["turns"]) == 2
    async with up("--ephemeral", "--model", f"scripted:{file}") as (replaying, _):
        for said in ("good morning", "and good night {{user}}"):
            original = await ok("run", said, address=address)
            replayed = await ok("run", said, address=replaying)
            assert replayed.out == original.out


async def test_agents_are_made_changed_and_listed(address: str, tmp_path: Path) -> None:
    name = await made_agent(address, tmp_path)
    changed = tmp_path / "agent.yaml"
    changed.write_text(AGENT.format(id=name).replace("Writes files.", "Writes better files."))
    assert (await ok("agents", "update", str(changed), "--json", address=address)).json["version"] == "2"
    assert "Writes better files." in (await ok("agents", "list", address=address)).out
    assert "scripted:demo" in (await ok("agents", "show", name, address=address)).out
    models = (await ok("agents", "models", "--json", address=address)).json["models"]
    assert any(each["model"] == "scripted:hello" and each["is_default"] for each in models)


async def test_a_dry_run_asks_the_runtime_about_agents_that_are_still_to_be_made(address: str, tmp_path: Path) -> None:
    folder = tmp_path / "tried"
    folder.mkdir()
    for name in ("untold", "general"):  # the second takes the place of one that comes with Heddle
        (folder / f"{name}.yaml").write_text(f"agent_id: {name}\ndescription: x\n")
    tried = await ok("apply", "-f", str(folder), "--dry-run", address=address)
    assert "tried: 2 to create" in tried.err
    for name in ("untold", "general"):
        (folder / f"{name}.yaml").write_text(f"agent_id: {name}\ntemperature: 3\n")
    refused = await heddle("apply", "-f", str(folder), "--dry-run", address=address)
    assert refused.code == 3
    assert refused.err.count(":2: temperature: 0 to 2") == 2
    assert (await heddle("agents", "show", "untold", address=address)).code == 3


async def test_tools_and_their_providers_are_listed(address: str) -> None:
    assert "builtin/write_file" in (await ok("tools", "list", address=address)).out
    assert "built in" in (await ok("tools", "providers", address=address)).out
    added = await heddle("tools", "add", "away", "127.0.0.1:1", "--json", address=address)
    assert added.code == 0, added.err
    assert added.json["available"] is False
    await ok("tools", "remove", "away", address=address)


async def test_usage_sums_up_runs(own_address: str) -> None:
    await ok("run", "one", address=own_address)
    told = (await ok("runs", "usage", "--since", "2020-01-01", "--json", address=own_address)).json
    assert told["runs"] == "1"
    assert int(told["usage"]["output_tokens"]) > 0


async def test_chat_answers_line_by_line_in_one_thread(own_address: str) -> None:
    talk = await ok("chat", address=own_address, typed="first words\n/help\nsecond words\n/quit\n")
    assert "You said: first words" in talk.out
    assert "You said: second words" in talk.out
    threads = (await ok("threads", "list", "--json", address=own_address)).json["threads"]
    assert len(threads) == 1
    assert "/steer TEXT" in talk.err


async def test_chat_with_json_prints_a_run_a_line(address: str) -> None:
    talk = await ok("chat", "--json", address=address, typed="one\ntwo\n")
    answers = [json.loads(line)["result"]["parts"][0]["text"] for line in talk.out.splitlines()]
    assert ["one" in answers[0], "two" in answers[1], len(answers)] == [True, True, 2]


async def test_chat_runs_the_last_turn_again(address: str) -> None:
    talk = await ok("chat", address=address, typed="first words\n/retry other words\n")
    assert "You said: other words" in talk.out


async def test_the_shown_request_is_a_call_that_buf_can_make(address: str) -> None:
    shown = (await ok("threads", "list", "--show-request", address=address)).err
    line = next(each for each in shown.splitlines() if each.startswith("buf curl"))
    _, *arguments = shlex.split(line)
    buf = Path(sys.executable).parent / "buf"
    process = await asyncio.create_subprocess_exec(buf, *arguments, stdout=asyncio.subprocess.PIPE)
    out, _ = await process.communicate()
    assert process.returncode == 0
    assert isinstance(json.loads(out), dict)


async def test_doctor_tells_the_server_and_its_models(address: str) -> None:
    told = (await ok("doctor", "--json", address=address)).json
    assert told["ok"]
    subjects = {each["subject"]: each for each in told["findings"]}
    assert subjects["model scripted:hello (default)"]["grade"] == "good"
    assert "taken for one developer" in subjects["callers"]["found"]


async def test_up_drains_on_sigint_and_keeps_its_data(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    async with up("--data-dir", str(folder)) as (address, process):
        thread = (await ok("run", "remember me", "--json", address=address)).json["thread_id"]
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(60):
            assert await process.wait() == 0
    async with up("--data-dir", str(folder)) as (address, _):
        assert "remember me" in (await ok("threads", "show", thread, address=address)).out


async def test_a_second_up_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    async with up("--data-dir", str(folder)):
        second = await heddle("up", "--data-dir", str(folder), "--listen", "127.0.0.1:0")
    assert second.code == 3
    assert "error:" in second.err


async def test_print_config_hides_secrets(tmp_path: Path) -> None:
    process = await start("up", "--print-config", env={"HEDDLE_MODELS__OPENAI_API_KEY": "sk-very-secret"}, cwd=tmp_path)
    out, _ = await process.communicate()
    assert process.returncode == 0
    assert json.loads(out)["models"]["openai_api_key"] == "**********"
    assert b"sk-very-secret" not in out
    assert not any(tmp_path.iterdir())  # noqa: ASYNC240 - nothing else runs in this loop


async def test_serve_tells_where_it_listens_and_stops_on_sigterm(tmp_path: Path) -> None:
    settings = {
        "HEDDLE_DATA_DIR": str(tmp_path),
        "HEDDLE_LISTEN": "127.0.0.1:0",
        "HEDDLE_MODEL": f"scripted:{SCENARIOS}/hello.yaml",
    }
    process = await start("serve", "runtime", env=settings)
    async with asyncio.timeout(60):
        address = json.loads(await process.stdout.readline())["address"]
        await ok("threads", "list", address=address)
        process.terminate()
        await process.communicate()
    assert process.returncode == 0
