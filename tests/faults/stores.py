"""The databases that cells run on, each empty when it is made."""

import asyncio
import sqlite3
import subprocess
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
    await _carry_out("mount", "-t", "tmpfs", "-o", f"size={_DISK_MEBIBYTES}m", "none", str(data))
    try:
        yield SqliteStore(data, {"disk": data})
    finally:
        await _carry_out("umount", "-l", str(data))


async def _carry_out(*command: str) -> None:
    await asyncio.to_thread(subprocess.run, command, check=True)


@asynccontextmanager
async def postgres_store(folder: Path, *, proxied: bool) -> AsyncGenerator[Store]:
    """A server with one database; behind a proxy, if answers are to be lost."""
    server = await asyncio.to_thread(PostgresServer)
    async with AsyncExitStack() as stack:
        stack.callback(server.remove)
        await asyncio.to_thread(server.start)
        name = await server.create()
        parts: dict[str, Any] = {"postgres": server}
        through = server.url(name)
        if proxied:
            parts["proxy"] = await stack.enter_async_context(tcp_proxy(server.port))
            through = server.url(name, parts["proxy"].port)
        yield PostgresStore(server.url(name), through, folder / "data", parts)
