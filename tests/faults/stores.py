"""The databases that cells run on, each empty when it is made."""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from tests.faults.checker import rows
from tests.faults.checker.rows import Tables, read_postgres, read_sqlite
from tests.kit.postgres import PostgresServer
from tests.kit.tcp_proxy import tcp_proxy

_DISK_MEBIBYTES = 24
_SERVERS_DISK_MEBIBYTES = 192
"""The server's own files take 40, and its programs 50 more where they must be copied."""


class Store(Protocol):
    """A database of its own for one cell."""

    @property
    def settings(self) -> Mapping[str, str]:
        """What a runtime must be told to use it, without the prefix HEDDLE_."""
        ...

    @property
    def parts(self) -> Mapping[str, Any]:
        """What can be broken: `postgres`, `proxy`, `disk`."""
        ...

    async def read(self) -> Tables:
        """All rows, as of one moment."""
        ...

    @property
    def place(self) -> tuple[str, str]:
        """How `heddle` is told where it is: an option and its value."""
        ...

    async def begin_anew(self) -> None:
        """Leave nothing of it: no table either. No runtime may be at work."""
        ...

    async def archive(self) -> None:
        """Have the database put aside what is removed from it from now on. It has its tables; no runtime is at work."""
        ...


@dataclass(frozen=True)
class SqliteStore:
    """A file in a folder; one runtime at a time has it."""

    folder: Path
    parts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> Mapping[str, str]:
        return {"DATA_DIR": str(self.folder)}

    async def read(self) -> Tables:
        return await asyncio.to_thread(read_sqlite, self.folder / "heddle.db")

    @property
    def place(self) -> tuple[str, str]:
        return "--data-dir", str(self.folder)

    async def archive(self) -> None:
        await asyncio.to_thread(self._archive)

    def _archive(self) -> None:
        connection = sqlite3.connect(self.folder / "heddle.db")
        for table in rows.ARCHIVED:
            aside, columns = rows.archive_of(table), rows.columns_of(table)
            old = ", ".join(f"OLD.{each}" for each in columns)
            connection.execute(f"CREATE TABLE {aside} AS SELECT {', '.join(columns)} FROM {table} WHERE 0")
            connection.execute(
                f"CREATE TRIGGER {aside} AFTER DELETE ON {table} BEGIN INSERT INTO {aside} VALUES ({old}); END"
            )
        connection.commit()
        connection.close()

    async def begin_anew(self) -> None:
        for file in await asyncio.to_thread(lambda: list(self.folder.glob("heddle.db*"))):
            file.unlink()


@dataclass(frozen=True)
class PostgresStore:
    """A database of a server that was started for it, reached through a proxy."""

    url: str
    through: str
    folder: Path
    parts: Mapping[str, Any]

    @property
    def settings(self) -> Mapping[str, str]:
        return {"DATABASE": self.through, "DATA_DIR": str(self.folder)}

    async def read(self) -> Tables:
        return await asyncio.to_thread(read_postgres, self.url)

    @property
    def place(self) -> tuple[str, str]:
        return "--database", self.url

    async def archive(self) -> None:
        for table in rows.ARCHIVED:
            aside, columns = rows.archive_of(table), rows.columns_of(table)
            old = ", ".join(f"OLD.{each}" for each in columns)
            await self.parts["postgres"].execute(
                f"CREATE TABLE {aside} AS SELECT {', '.join(columns)} FROM {table} WHERE FALSE;"
                f"CREATE FUNCTION keep_{aside}() RETURNS trigger LANGUAGE plpgsql AS"
                f" $$ BEGIN INSERT INTO {aside} VALUES ({old}); RETURN OLD; END $$;"
                f"CREATE TRIGGER {aside} AFTER DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION keep_{aside}()",
                self.url.rpartition("/")[2],
            )

    async def begin_anew(self) -> None:
        server, name = self.parts["postgres"], self.url.rpartition("/")[2]
        await server.drop(name)
        await server.execute(f"CREATE DATABASE {name} TEMPLATE template0")


@asynccontextmanager
async def sqlite_store(folder: Path, *, small_disk: bool) -> AsyncGenerator[Store]:
    """A folder for a file; on a small disk of its own, if it is to become full."""
    data = folder / "data"
    data.mkdir(parents=True)
    if not small_disk:
        yield SqliteStore(data)
        return
    async with _small_disk(data, _DISK_MEBIBYTES):
        yield SqliteStore(data, {"disk": data})


@asynccontextmanager
async def postgres_store(folder: Path, *, proxied: bool, small_disk: bool = False) -> AsyncGenerator[Store]:
    """A server with one database; behind a proxy, if answers are to be lost; its tables on a disk that can be full."""
    async with AsyncExitStack() as stack:
        parts: dict[str, Any] = {}
        if small_disk:
            # Not in the cell's folder, which may be closed to the user that the server runs as.
            parts["disk"] = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="heddle-disk-")))
            await stack.enter_async_context(_small_disk(parts["disk"], _SERVERS_DISK_MEBIBYTES))
        server = await asyncio.to_thread(PostgresServer, folder=parts.get("disk"))
        stack.callback(server.remove)
        if small_disk:
            await asyncio.to_thread(_log_elsewhere, parts["disk"], stack)
        await asyncio.to_thread(server.start)
        name = await server.create()
        parts["postgres"] = server
        through = server.url(name)
        if proxied:
            parts["proxy"] = await stack.enter_async_context(tcp_proxy(server.port))
            through = server.url(name, parts["proxy"].port)
        yield PostgresStore(server.url(name), through, folder / "data", parts)


@asynccontextmanager
async def _small_disk(place: Path, mebibytes: int) -> AsyncGenerator[None]:
    """A disk of its own at a place, open to every user."""
    await _carry_out("mount", "-t", "tmpfs", "-o", f"size={mebibytes}m,mode=755", "none", str(place))
    try:
        yield
    finally:
        await _carry_out("umount", "-l", str(place))


async def _carry_out(*command: str) -> None:
    await asyncio.to_thread(subprocess.run, command, check=True)


def _log_elsewhere(disk: Path, stack: AsyncExitStack) -> None:
    """Keep the write-ahead log on another disk, as one does: where that is full the server ends, and stays away."""
    [data] = disk.glob("*/data")
    owner = data.stat()
    home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="heddle-wal-")))
    moved = Path(shutil.copytree(data / "pg_wal", home / "pg_wal"))
    for place in (home, moved, *moved.rglob("*")):
        os.chown(place, owner.st_uid, owner.st_gid)
    shutil.rmtree(data / "pg_wal")
    (data / "pg_wal").symlink_to(moved)
