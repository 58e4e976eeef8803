"""Asking, telling the time, and files in a folder that no path leaves."""

import asyncio
import json
import os
import threading
from pathlib import Path

import pytest

from heddle_core.clock import ManualClock, SystemClock
from heddle_core.ids import TenantId
from heddle_runtime.runs.content import plain_text
from heddle_runtime.runs.inputs import InputOption
from heddle_runtime.tools.builtin.ask_user import AskUser
from heddle_runtime.tools.builtin.current_time import CurrentTime
from heddle_runtime.tools.builtin.list_files import ListFiles
from heddle_runtime.tools.builtin.read_file import ReadFile
from heddle_runtime.tools.builtin.sandbox import MOST_FILE, Sandbox, SandboxRefused
from heddle_runtime.tools.builtin.tool import BuiltinTool
from heddle_runtime.tools.builtin.write_file import WriteFile
from heddle_runtime.tools.port import RiskClass, ToolQuestion, ToolReply
from heddle_runtime.tools.schema import Schemas
from tests.kit.tool_servers import invocation_of

ACME = TenantId("acme")


async def reply_of(tool: BuiltinTool, *, tenant: str = "acme", dry_run: bool = False, **arguments: object) -> ToolReply:
    invocation = invocation_of(tool.spec, json.dumps(arguments), tenant=tenant, dry_run=dry_run)
    end = await tool.perform(arguments, invocation)
    assert isinstance(end, ToolReply)
    return end


# --- ask_user --------------------------------------------------------------------------------------------


@pytest.fixture
def ask() -> AskUser:
    return AskUser(Schemas(SystemClock()))


async def test_a_question_carries_options_and_the_recommended_one(ask: AskUser) -> None:
    arguments = {"question": "Which?", "options": [{"value": "a"}, {"value": "b", "label": "B"}], "recommended": "b"}
    question = await ask.perform(arguments, invocation_of(ask.spec))
    assert question == ToolQuestion(
        "Which?", (InputOption("a", "a", "", False), InputOption("b", "B", "", True)), free_text=False
    )


async def test_a_bare_question_is_answered_in_words(ask: AskUser) -> None:
    assert await ask.perform({"question": "Why?"}, invocation_of(ask.spec)) == ToolQuestion("Why?", free_text=True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"options": [{"value": "a"}], "recommended": "b"}, "'b' is recommended"),
        ({"options": [{"value": "a"}, {"value": "a"}]}, "same value"),
        ({"json_schema": {"$ref": "https://example.com/"}}, "json_schema cannot be used"),
    ],
)
async def test_a_question_that_makes_no_sense_is_given_back(ask: AskUser, arguments: object, words: str) -> None:
    reply = await reply_of(ask, question="Which?", **arguments)
    assert not reply.ok
    assert words in plain_text(reply.content)


# --- current_time ----------------------------------------------------------------------------------------


async def test_the_time_is_told_in_a_zone() -> None:
    clock = ManualClock(1_700_000_000 * 1_000_000)
    told = json.loads(plain_text((await reply_of(CurrentTime(clock), zone="Europe/Berlin")).content))
    assert told == {"time": "2023-11-14T23:13:20+01:00", "weekday": "Tuesday", "zone": "Europe/Berlin"}
    told = json.loads(plain_text((await reply_of(CurrentTime(clock))).content))
    assert told["time"] == "2023-11-14T22:13:20+00:00"


@pytest.mark.parametrize("zone", ["Europe/Berlim", "Europe", "../../etc/passwd", "/etc/localtime", "", "a\0b"])
async def test_what_is_no_zone_is_answered_with_near_ones(zone: str) -> None:
    reply = await reply_of(CurrentTime(ManualClock()), zone=zone)
    assert not reply.ok
    assert ("did you mean Europe/Berlin" in plain_text(reply.content)) == (zone == "Europe/Berlim")


# --- files -----------------------------------------------------------------------------------------------


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret.txt").write_text("not yours")
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def sandbox(root: Path) -> Sandbox:
    return Sandbox(root)


async def test_what_is_written_is_read_and_listed(sandbox: Sandbox) -> None:
    assert (await reply_of(WriteFile(sandbox), path="notes/plan.txt", content="grüß")).ok
    assert plain_text((await reply_of(ReadFile(sandbox), path="notes/plan.txt")).content) == "grüß"
    listed = json.loads(plain_text((await reply_of(ListFiles(sandbox))).content))
    assert listed == {"files": [{"path": "notes/"}, {"path": "notes/plan.txt", "bytes": 6}], "more": False}


def test_writing_needs_approval_and_reading_does_not() -> None:
    assert (WriteFile.spec.risk, WriteFile.spec.needs_approval, WriteFile.spec.repeatable) == (
        RiskClass.WRITE,
        True,
        False,
    )
    assert ReadFile.spec.read_only
    assert ListFiles.spec.read_only


async def test_tenants_do_not_see_each_other(sandbox: Sandbox) -> None:
    await reply_of(WriteFile(sandbox), path="a.txt", content="acme's")
    assert not (await reply_of(ReadFile(sandbox), tenant="other", path="a.txt")).ok
    assert '"files": []' in plain_text((await reply_of(ListFiles(sandbox), tenant="other")).content)


@pytest.mark.parametrize(
    "path",
    [
        "../secret.txt", "a/../../secret.txt", "..", ".", "/etc/passwd", "//etc/passwd", "a//b", "./a", "a\\..\\b",
        "a\0b", "", "/", "x" * 300, "/".join("a" * 40), ".heddle-x", "a/.heddle-x", "\ud800",
    ],
)  # fmt: skip
async def test_no_path_leads_out(sandbox: Sandbox, path: str) -> None:
    assert not (await reply_of(ReadFile(sandbox), path=path)).ok
    assert not (await reply_of(WriteFile(sandbox), path=path, content="x")).ok
    if path:
        assert not (await reply_of(ListFiles(sandbox), path=path)).ok


@pytest.mark.parametrize("tenant", ["../other", "a/b", "..", ""])
def test_a_tenant_is_a_folder_of_the_root_or_nothing(sandbox: Sandbox, tenant: str) -> None:
    with pytest.raises(SandboxRefused):
        sandbox.read(TenantId(tenant), "secret.txt")


async def test_links_are_not_followed_wherever_they_stand(sandbox: Sandbox, root: Path) -> None:
    home = root / "acme"
    home.mkdir()
    (home / "file").symlink_to(root.parent / "secret.txt")
    (home / "folder").symlink_to(root.parent)
    (root / "evil").symlink_to(root.parent)
    assert not (await reply_of(ReadFile(sandbox), path="file")).ok
    assert not (await reply_of(ReadFile(sandbox), path="folder/secret.txt")).ok
    assert not (await reply_of(ListFiles(sandbox), path="folder")).ok
    assert not (await reply_of(WriteFile(sandbox), path="folder/new.txt", content="x")).ok
    assert not (await reply_of(ReadFile(sandbox), tenant="evil", path="secret.txt")).ok
    assert '"files": []' in plain_text((await reply_of(ListFiles(sandbox))).content)
    assert sorted(each.name for each in root.parent.iterdir()) == ["root", "secret.txt"]


async def test_writing_over_a_link_replaces_the_link_and_not_its_target(sandbox: Sandbox, root: Path) -> None:
    (root / "acme").mkdir()
    (root / "acme" / "file").symlink_to(root.parent / "secret.txt")
    assert (await reply_of(WriteFile(sandbox), path="file", content="mine", replace=True)).ok
    assert (root.parent / "secret.txt").read_text() == "not yours"
    assert (root / "acme" / "file").read_text() == "mine"
    assert not (root / "acme" / "file").is_symlink()


async def test_devices_pipes_and_folders_are_not_read(sandbox: Sandbox, root: Path) -> None:
    home = root / "acme"
    home.mkdir()
    os.mkfifo(home / "pipe")
    (home / "folder").mkdir()
    assert not (await reply_of(ReadFile(sandbox), path="pipe")).ok
    assert not (await reply_of(ReadFile(sandbox), path="folder")).ok
    assert not (await reply_of(WriteFile(sandbox), path="folder", content="x", replace=True)).ok


def test_a_folder_that_keeps_turning_into_a_link_never_leads_out(sandbox: Sandbox, root: Path) -> None:
    home = root / "acme"
    (home / "real").mkdir(parents=True)
    (home / "real" / "secret.txt").write_text("mine")
    (home / "link").symlink_to(root.parent)
    over = threading.Event()

    def swap() -> None:
        while not over.is_set():
            for kind in ("real", "link"):
                (home / kind).rename(home / "door")
                (home / "door").rename(home / kind)

    swapper = threading.Thread(target=swap)
    swapper.start()
    seen: set[bytes] = set()
    refused = 0
    try:
        while refused < 50 or not seen:
            try:
                seen.add(sandbox.read(ACME, "door/secret.txt"))
            except SandboxRefused:
                refused += 1
    finally:
        over.set()
        swapper.join()
    assert seen == {b"mine"}


async def test_a_file_is_replaced_only_if_asked(sandbox: Sandbox) -> None:
    write, read = WriteFile(sandbox), ReadFile(sandbox)
    await reply_of(write, path="a.txt", content="one")
    reply = await reply_of(write, path="a.txt", content="two")
    assert not reply.ok
    assert "set replace to true" in plain_text(reply.content)
    assert plain_text((await reply_of(read, path="a.txt")).content) == "one"
    assert (await reply_of(write, path="a.txt", content="two", replace=True)).ok
    assert plain_text((await reply_of(read, path="a.txt")).content) == "two"


async def test_no_draft_is_left_behind_and_an_old_one_is_no_hindrance(sandbox: Sandbox, root: Path) -> None:
    for _ in range(2):
        assert (await reply_of(WriteFile(sandbox), path="a.txt", content="x", replace=True)).ok
    assert not (await reply_of(WriteFile(sandbox), path="a.txt", content="x")).ok
    assert [each.name for each in (root / "acme").iterdir()] == ["a.txt"]


async def test_sizes_are_bounded(root: Path) -> None:
    sandbox = Sandbox(root, most_stored=100)
    assert not (await reply_of(WriteFile(sandbox), path="big", content="x" * (MOST_FILE + 1))).ok
    assert (await reply_of(WriteFile(sandbox), path="a", content="x" * 60)).ok
    reply = await reply_of(WriteFile(sandbox), path="b", content="x" * 60)
    assert "60 bytes are stored already" in plain_text(reply.content)
    (root / "acme" / "huge").write_bytes(b"x" * (MOST_FILE + 1))
    assert "at most" in plain_text((await reply_of(ReadFile(sandbox), path="huge")).content)


async def test_a_long_file_is_read_in_pieces(sandbox: Sandbox) -> None:
    text = "".join(f"{i:07d}\n" for i in range(10_000))
    await reply_of(WriteFile(sandbox), path="a.txt", content=text)
    first = plain_text((await reply_of(ReadFile(sandbox), path="a.txt")).content)
    assert "call again with offset 65536" in first
    second = plain_text((await reply_of(ReadFile(sandbox), path="a.txt", offset=65_536)).content)
    assert first[:65_536] + second == text
    assert not (await reply_of(ReadFile(sandbox), path="a.txt", offset=80_001)).ok


async def test_what_is_not_text_is_not_shown(sandbox: Sandbox, root: Path) -> None:
    (root / "acme").mkdir()
    (root / "acme" / "a.png").write_bytes(b"\x89PNG\xff")
    assert "not UTF-8" in plain_text((await reply_of(ReadFile(sandbox), path="a.png")).content)


async def test_a_dry_run_only_says_what_it_would_do(sandbox: Sandbox) -> None:
    reply = await reply_of(WriteFile(sandbox), dry_run=True, path="a.txt", content="xyz")
    assert plain_text(reply.content) == "would write 3 bytes to a.txt"
    assert sandbox.entries(ACME, "", most=1) == ([], False)


class Gate(Sandbox):
    """Stops a write before, or after, its last moment, so that a test can cancel it just there."""

    def __init__(self, root: Path, *, admit_first: bool) -> None:
        super().__init__(root)
        self._admit_first = admit_first
        self.reached = threading.Event()
        self.go_on = threading.Event()

    def write(self, tenant, path, content, *, replace, key, admit):  # type: ignore[no-untyped-def]
        def gated() -> bool:
            admitted = admit() if self._admit_first else None
            self.reached.set()
            self.go_on.wait()
            return admit() if admitted is None else admitted

        return super().write(tenant, path, content, replace=replace, key=key, admit=gated)


@pytest.mark.parametrize("admit_first", [False, True])
async def test_a_cancelled_write_has_no_effect_or_says_what_it_did(root: Path, admit_first: bool) -> None:
    gate = Gate(root, admit_first=admit_first)
    writing = asyncio.ensure_future(reply_of(WriteFile(gate), path="a.txt", content="x"))
    await asyncio.to_thread(gate.reached.wait)
    writing.cancel()
    if admit_first:
        gate.go_on.set()
        assert (await writing).ok
    else:
        with pytest.raises(asyncio.CancelledError):
            await writing
        gate.go_on.set()
        await asyncio.get_running_loop().shutdown_default_executor()
    assert (root / "acme" / "a.txt").exists() == admit_first
