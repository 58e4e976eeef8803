"""The bundled nats-server as a process: who may use it, and that nothing of it is left behind."""

import asyncio
import os
import shutil
import signal
import socket
import stat
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from heddle_bus.server import NatsServer, ServerSettings, find_binary
from heddle_core.errors import ServiceUnreachable
from tests.kit.nats import kill

ROOTS = os.pathsep.join(path for path in sys.path if path)

PARENT = """
import asyncio, os, pathlib, sys
from heddle_bus.server import NatsServer, find_binary

async def main():
    server = NatsServer(pathlib.Path(sys.argv[1]))
    if len(sys.argv) > 2:
        os.environ["NATS_SERVER_BIN"] = str(find_binary(os.environ))
        sys.executable = sys.argv[3]
        os.setgroups([])
        os.setgid(int(sys.argv[2]))
        os.setuid(int(sys.argv[2]))
    await server.start()
    print(server.running.value, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@asynccontextmanager
async def parent_process(folder: Path, *become: str) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """Another process that runs a server in `folder`, and the server's process id.

    `become` is a user id and an interpreter which that user may execute.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", PARENT, str(folder), *become),
        env={**os.environ, "PYTHONPATH": ROOTS},
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        yield process, int(await process.stdout.readline())
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await process.stdout.read()


async def ended(pid: int) -> None:
    """Returns when the process is gone, whoever its parent is."""
    loop = asyncio.get_running_loop()
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    gone = asyncio.Event()
    loop.add_reader(descriptor, gone.set)
    try:
        async with asyncio.timeout(10):
            await gone.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def listens(server: NatsServer) -> bool:
    host, port = server.endpoint().servers[0].removeprefix("nats://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        return connection.recv(5) == b"INFO "


async def test_it_listens_on_loopback_and_only_its_owner_can_read_the_token(tmp_path: Path) -> None:
    async with NatsServer(tmp_path / "nats") as server:
        endpoint = server.endpoint()
        assert endpoint.servers[0].startswith("nats://127.0.0.1:")
        assert listens(server)
        assert endpoint.token not in repr(endpoint)
    holding = [
        path
        for path in (tmp_path / "nats").rglob("*")
        if path.is_file() and endpoint.token in path.read_text("latin-1")
    ]
    assert [path.name for path in holding] == ["nats-server.conf"]
    assert stat.S_IMODE(holding[0].stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "nats").stat().st_mode) == 0o700


async def test_a_folder_with_blanks_and_quotes_in_its_name_works(tmp_path: Path) -> None:
    async with NatsServer(tmp_path / 'a "quoted" name, $HOME #ü') as server:
        assert listens(server)


@pytest.mark.parametrize(("ours", "its"), [(None, "1"), ("3", "3")])
async def test_it_takes_one_processor_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ours: str | None, its: str
) -> None:
    if ours is None:
        monkeypatch.delenv("GOMAXPROCS", raising=False)
    else:
        monkeypatch.setenv("GOMAXPROCS", ours)
    async with NatsServer(tmp_path) as server:
        environment = Path(f"/proc/{server.running.value}/environ").read_bytes().split(b"\0")  # noqa: ASYNC240 - one small file
        assert f"GOMAXPROCS={its}".encode() in environment


async def test_it_is_started_again_when_it_dies(tmp_path: Path) -> None:
    async with NatsServer(tmp_path) as server:
        first = server.running.value
        for _ in range(3):
            await kill(server)
        assert server.running.value != first
        assert listens(server)


async def test_stopping_ends_the_process_and_leaves_no_task_and_no_descriptor(tmp_path: Path) -> None:
    tasks, descriptors = asyncio.all_tasks(), open_descriptors()
    server = NatsServer(tmp_path)
    await server.start()
    pid = server.running.value
    assert pid is not None
    await server.stop()
    await server.stop()
    assert server.running.value is None
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert asyncio.all_tasks() == tasks
    assert open_descriptors() == descriptors
    assert list((tmp_path / "ports").iterdir()) == []


async def test_a_second_heddle_on_the_same_folder_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    async with NatsServer(tmp_path) as first:
        with pytest.raises(ServiceUnreachable, match="in use"):
            await NatsServer(tmp_path).start()
        assert listens(first)


async def test_kill_9_of_the_parent_ends_the_server(tmp_path: Path) -> None:
    async with parent_process(tmp_path) as (parent, pid):
        parent.kill()
        await parent.wait()
        await ended(pid)


async def test_a_left_over_server_is_found_and_replaced(tmp_path: Path) -> None:
    async with parent_process(tmp_path) as (parent, pid):
        # Frozen, it cannot follow the signal that the death of its parent brings: it stays, with its locks.
        os.kill(pid, signal.SIGSTOP)
        parent.kill()
        await parent.wait()
        os.kill(pid, 0)
        async with NatsServer(tmp_path) as server:
            assert server.running.value != pid
            assert listens(server)
            await ended(pid)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
async def test_it_works_for_an_ordinary_user(tmp_path: Path) -> None:
    nobody = 65_534
    python = shutil.which("python3", path="/usr/local/bin:/usr/bin")
    if python is None:
        pytest.skip("no interpreter that everybody may execute")
    with tempfile.TemporaryDirectory(dir="/tmp") as home:
        os.chown(home, nobody, nobody)
        async with parent_process(Path(home, "nats"), str(nobody), python) as (parent, pid):
            assert os.stat(f"/proc/{pid}").st_uid == nobody  # noqa: PTH116
            parent.kill()
            await parent.wait()
            await ended(pid)


async def test_a_server_that_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho no disk today >&2\nexit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("NATS_SERVER_BIN", str(broken))
    with pytest.raises(ServiceUnreachable, match="no disk today"):
        await NatsServer(tmp_path / "nats").start()
    monkeypatch.delenv("NATS_SERVER_BIN")
    async with NatsServer(tmp_path / "nats") as server:
        assert listens(server)


async def test_a_server_that_never_listens_is_ended_at_the_deadline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nexec sleep 600\n")
    silent.chmod(0o755)
    monkeypatch.setenv("NATS_SERVER_BIN", str(silent))
    with pytest.raises(ServiceUnreachable, match="did not listen"):
        await NatsServer(tmp_path / "nats", ServerSettings(start_seconds=0.3)).start()


def test_the_binary_is_looked_for_in_the_environment_then_beside_python_then_on_the_path(tmp_path: Path) -> None:
    named = tmp_path / "mine"
    named.write_text("")
    named.chmod(0o755)
    assert find_binary({"NATS_SERVER_BIN": str(named)}) == named
    assert find_binary({}) == Path(sys.executable).parent / "nats-server"
    with pytest.raises(ServiceUnreachable, match="NATS_SERVER_BIN"):
        find_binary({"NATS_SERVER_BIN": str(tmp_path / "absent")})
