"""Where a process reaches itself: a folder that nobody else may enter, and that no death leaves behind for long."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from heddle_core.errors import CannotServe
from heddle_runtime.wiring.inside import inside_socket
from tests.kit.cli import environment

LIVING = """
import socket, sys, time
from pathlib import Path
from heddle_runtime.wiring.inside import inside_socket

with inside_socket(Path(sys.argv[1])) as address:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address.removeprefix("unix:"))
    print(address, flush=True)
    sys.stdin.read()
"""


def living(parent: Path) -> tuple[subprocess.Popen[str], Path]:
    process = subprocess.Popen(
        [sys.executable, "-c", LIVING, str(parent)],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip().removeprefix("unix:"))


def test_the_folder_is_for_its_owner_alone_and_goes_with_the_block(tmp_path: Path) -> None:
    with inside_socket(tmp_path) as address:
        folder = Path(address.removeprefix("unix:")).parent
        assert folder.stat().st_mode & 0o777 == 0o700 and folder.parent == tmp_path
        with inside_socket(tmp_path) as other:
            assert other != address
        assert folder.exists()
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_leaves_goes_at_the_next_start_and_what_lives_stays(tmp_path: Path) -> None:
    killed, left = living(tmp_path)
    lives, used = living(tmp_path)
    with killed, lives:
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        assert left.exists() and used.exists()
        with inside_socket(tmp_path) as address:
            mine = Path(address.removeprefix("unix:")).parent
            assert set(tmp_path.iterdir()) == {used.parent, mine}
            assert used.exists()
        lives.communicate("")
    assert not list(tmp_path.iterdir())


def test_nothing_is_removed_that_only_looks_like_it(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    kept.mkdir(mode=0o700)
    (kept / "inside").write_text("mine")
    (tmp_path / "heddle-inside-link").symlink_to(kept)
    (tmp_path / "heddle-inside-file").write_text("mine")
    full, wide = tmp_path / "heddle-inside-full", tmp_path / "heddle-inside-wide"
    for folder in (full, wide):
        folder.mkdir(mode=0o700)
        (folder / "else").write_text("mine")
    wide.chmod(0o755)
    (wide / "inside").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with inside_socket(tmp_path):
        pass
    assert sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "heddle-inside-link").readlink() == kept


def test_a_path_that_is_too_long_for_a_socket_is_refused_with_what_to_set(tmp_path: Path) -> None:
    longest = 107 - len("/heddle-inside-12345678/inside")
    parent = tmp_path / "x"
    parent = tmp_path / ("x" * (longest - len(str(parent)) + 1))
    assert len(str(parent)) == longest
    parent.mkdir()
    with inside_socket(parent) as address, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address.removeprefix("unix:"))
    longer = parent.with_name(parent.name + "x")
    longer.mkdir()
    with pytest.raises(CannotServe, match=r"108 bytes.*set TMPDIR"), inside_socket(longer):
        pytest.fail("it was opened")
    assert not list(longer.iterdir())


def test_where_no_folder_can_be_made_it_is_said_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(CannotServe, match=r"No such file.*set TMPDIR"), inside_socket(tmp_path / "missing"):
        pytest.fail("it was opened")
