"""All rows of a service's database in one file, to be kept, or loaded into an empty database of either engine.

The file is gzip over lines of JSON, UTF-8:

    {"heddle_dump": 1, "revisions": {"runtime_schema_version": "0003"}}
    {"table": "events", "columns": {"tenant": "text", "payload": "bytes", ...}, "key": ["tenant", ...]}
    ["acme", "base64 of the bytes", ...]          one line a row, in the order of keys by their bytes
    {"end": {"events": 1}, "sha256": "..."}       rows by table, and the SHA-256 of all lines before

Bytes are those of the database, so chains of hashes verify wherever they are loaded. The same rows give the same file
to the byte, on either engine.
"""

import base64
import gzip
import hashlib
import json
import os
import zlib
from collections import deque
from collections.abc import Callable, Generator, Set
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from heddle_core.errors import IllegalTransition
from heddle_database.port import Database, Transaction
from heddle_database.tables import VERSION_SUFFIX, Readable, Table, read_tables

FORMAT = 1
"""Raised when the form of the file changes; a reader refuses forms that it does not know."""

MAGIC = b"\x1f\x8b"
"""With which every dump begins, being gzip."""

_LEVEL = 3
_BATCH = 500
_EVERY = 5_000

Progress = Callable[[int], None]
"""Told from time to time of how many more rows are done."""


@dataclass(frozen=True)
class Dumped:
    """What a dump holds."""

    revisions: dict[str, str]
    """By the table that says so: at which revision the tables are."""
    rows: dict[str, int] = field(default_factory=dict[str, int])
    """By table."""
    sha256: str = ""
    """Of the lines."""


def _silent(_rows: int) -> None:
    """Nobody watches."""


async def dump(database: Readable, path: Path, own: Set[str], progress: Progress = _silent) -> Dumped:
    """Write all rows of `own` tables, as they are at this moment, to a new file at `path`.

    It is on stable storage on return. Tables of others in the same database stay out of it.

    Raises:
        IllegalTransition: there is a file already, or a table that cannot be dumped.
        StoreUnavailable: the database is in trouble.
        OSError: the file cannot be written.
    """
    tables = tuple(table for table in await read_tables(database) if table.name in own)
    lost = own - {table.name for table in tables}
    if lost:
        state = "not there, without a key, or with a column of a kind that no dump has"
        raise IllegalTransition("table", min(lost), state, "be dumped", "use the version that made the database")
    with new_file(path) as part:
        return await database.read(lambda tx: _write_file(tx, tables, part, progress))


def examine(path: Path) -> Dumped:
    """What a dump holds, after reading it to its end and comparing its digest.

    Raises:
        IllegalTransition: it is no dump of a form that this version knows, or it is damaged.
    """
    with closing(_lines(path)) as lines:
        head = _head(next(lines), path)
        [end] = deque(lines, maxlen=1)
    return Dumped(head["revisions"], end["end"], end["sha256"])


async def load(database: Database, path: Path, progress: Progress = _silent) -> Dumped:
    """Put the rows of a dump in the place of those that its tables have, all or nothing.

    They must be there, at the revisions of the dump. Rows that a new database has from the start go first.

    Raises:
        IllegalTransition: the dump is damaged, or does not fit the tables.
        StoreUnavailable: the database is in trouble; then nothing was loaded.
    """
    held = examine(path)
    tables = {table.name: table for table in await read_tables(database)}
    await database.write(lambda tx: _read(tx, tables, held, path, progress), bulk=True)
    return held


@contextmanager
def new_file(path: Path) -> Generator[Path]:
    """Where to write a file that is to stand at `path` when it is whole, and on stable storage.

    An empty file that nobody else may read: what is copied holds conversations and keys.

    Raises:
        IllegalTransition: there is one already.
    """
    if path.exists():
        raise IllegalTransition("file", str(path), "there already", "be written", "name another, or remove it")
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    make_private(part)
    try:
        yield part
        descriptor = os.open(part, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)


def make_private(path: Path) -> None:
    """Make an empty file that nobody but its owner may read."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_file(tx: Transaction, tables: tuple[Table, ...], path: Path, progress: Progress) -> Dumped:
    with (
        path.open("wb") as file,
        gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=0, compresslevel=_LEVEL) as packed,
    ):
        return _write(tx, tables, packed, progress)


def _write(tx: Transaction, tables: tuple[Table, ...], out: gzip.GzipFile, progress: Progress) -> Dumped:
    digest = hashlib.sha256()

    def line(value: object) -> None:
        data = _line(value)
        digest.update(data)
        out.write(data)

    held = Dumped({table.name: _revision(tx, table) for table in tables if table.name.endswith(VERSION_SUFFIX)})
    line({"heddle_dump": FORMAT, "revisions": held.revisions})
    for table in tables:
        if table.name in held.revisions:
            continue
        line({"table": table.name, "columns": table.columns, "key": list(table.key)})
        packed = [place for place, kind in enumerate(table.columns.values()) if kind == "bytes"]
        count = 0
        for row in table.rows(tx):
            values = list(row)
            for place in packed:
                if values[place] is not None:
                    values[place] = base64.b64encode(values[place]).decode()
            line(values)
            count += 1
            if count % _EVERY == 0:
                progress(_EVERY)
        progress(count % _EVERY)
        held.rows[table.name] = count
    sha256 = digest.hexdigest()
    out.write(_line({"end": held.rows, "sha256": sha256}))
    return Dumped(held.revisions, held.rows, sha256)


def _revision(tx: Transaction, table: Table) -> str:
    row = tx.row(f"SELECT version_num FROM {table.name}")  # noqa: S608 - a name of the catalogue
    return row[0] if row else ""


def _read(tx: Transaction, tables: dict[str, Table], held: Dumped, path: Path, progress: Progress) -> None:
    with closing(_lines(path)) as lines:
        next(lines)
        _require_revisions(tx, tables, held.revisions, path)
        for name in held.rows.keys() & tables.keys():
            tx.run(f"DELETE FROM {name}")  # noqa: S608 - a name of the catalogue
        insert: _Insert | None = None
        for line in lines:
            if isinstance(line, list):
                assert insert is not None, "a table's line comes first, or the rows could not be counted"
                insert.add(cast("list[Any]", line))
                continue
            if insert is not None:
                insert.flush()
            if "end" not in line:
                insert = _Insert(tx, _table(tables, line, path), progress)


class _Insert:
    """Rows on their way into one table."""

    def __init__(self, tx: Transaction, table: Table, progress: Progress) -> None:
        self._tx = tx
        self._names = list(table.columns)
        self._packed = [name for name, kind in table.columns.items() if kind == "bytes"]
        given = ", ".join(f":{name}" for name in self._names)
        self._sql = f"INSERT INTO {table.name} ({', '.join(self._names)}) VALUES ({given})"  # noqa: S608 - likewise
        self._rows: list[dict[str, object]] = []
        self._progress = progress

    def add(self, values: list[Any]) -> None:
        row = dict(zip(self._names, values, strict=True))
        for name in self._packed:
            if row[name] is not None:
                row[name] = base64.b64decode(row[name])
        self._rows.append(row)
        if len(self._rows) == _BATCH:
            self.flush()

    def flush(self) -> None:
        if self._rows:
            self._tx.many(self._sql, self._rows)
            self._progress(len(self._rows))
            self._rows = []


def _require_revisions(tx: Transaction, tables: dict[str, Table], held: dict[str, str], path: Path) -> None:
    for name, revision in held.items():
        present = _revision(tx, tables[name]) if name in tables else ""
        if present != revision:
            remedy = "load it with the version of Heddle that wrote it, or a later one"
            raise _unfit(path, f"of {name} {revision} while the database is at {present or 'none'}", remedy)


def _table(tables: dict[str, Table], line: dict[str, Any], path: Path) -> Table:
    table = tables.get(line.get("table", ""))
    if table is None or line.get("columns") != table.columns:
        raise _unfit(
            path, f"of a table {line.get('table')} that is not so here", "load it with the version that wrote it"
        )
    return table


def _lines(path: Path) -> Generator[Any]:
    """The lines of a dump. The last one is given only if it agrees with all others."""
    digest, counts, table = hashlib.sha256(), dict[str, int](), ""
    try:
        with gzip.open(path, "rb") as file:
            for data in file:
                line: Any = json.loads(data)
                if isinstance(line, dict) and "end" in line:
                    ended = cast("dict[str, Any]", line)
                    if ended["end"] != counts or ended.get("sha256") != digest.hexdigest() or file.read(1):
                        break
                    yield ended
                    return
                digest.update(data)
                if isinstance(line, list):
                    counts[table] += 1
                elif "table" in line:
                    table = str(cast("dict[str, Any]", line)["table"])
                    counts[table] = 0
                yield line
    except (OSError, EOFError, ValueError, KeyError, zlib.error) as error:
        if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
            raise
    raise _unfit(path, "damaged, or no dump of Heddle's", "use another copy of it")


def _head(line: Any, path: Path) -> dict[str, Any]:
    if not isinstance(line, dict) or "heddle_dump" not in line:
        raise _unfit(path, "no dump of Heddle's", "name a file that `heddle dump` has written")
    head = cast("dict[str, Any]", line)
    if head["heddle_dump"] != FORMAT:
        raise _unfit(path, f"of form {head['heddle_dump']}", "load it with the version of Heddle that wrote it")
    return head


def _line(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def _unfit(path: Path, state: str, remedy: str) -> IllegalTransition:
    return IllegalTransition("file", str(path), state, "be loaded", remedy)
