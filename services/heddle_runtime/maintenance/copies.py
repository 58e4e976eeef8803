"""Copies of a whole database: backups and restores, and dumps that move it from one engine to the other."""

from collections.abc import Callable
from pathlib import Path

from heddle_core.clock import SystemClock
from heddle_core.errors import IllegalTransition
from heddle_core.values import value
from heddle_database import dump as dumps
from heddle_database import sqlite_reading
from heddle_database.file_lock import FileLock
from heddle_database.migrations import migrate
from heddle_database.port import Database
from heddle_database.tables import Readable
from heddle_runtime.maintenance.auditing import Audit, audit
from heddle_runtime.maintenance.databases import (
    Place,
    opened_for_reading,
    opened_for_writing,
    opened_postgres,
    opened_sqlite,
    own_tables,
    require_empty,
    revision_of,
)
from heddle_runtime.store.restoring import begin_again

Progress = Callable[[str, int, int], None]
"""Told what is done, and how much of how much; of zero: nobody knows how much there is."""

_PART = ".restoring"


@value
class Copied:
    """A copy that was made or put back."""

    path: Path
    bytes: int
    audit: Audit
    """What verifying it has found. What does not verify is kept all the same: it is the best that there is."""
    epoch: int = 0
    """The log's epoch after a restore."""


def _silent(_what: str, _done: int, _of: int) -> None:
    """Nobody watches."""


async def back_up(place: Place, to: Path, progress: Progress = _silent) -> Copied:
    """Copy a database to a new file while it may be served; the copy is verified before it gets its name.

    An embedded database becomes a database file, PostgreSQL a dump.

    Raises:
        IllegalTransition: there is a file already, or no such database.
        StoreUnavailable: the database is in trouble.
    """
    if place.url:
        await dump(place, to, progress)
        async with opened_for_reading(place) as database:
            return _copied(to, await _audited(database, place, progress))
    async with opened_for_reading(place) as database:
        assert isinstance(database, sqlite_reading.SqliteReading)
        with dumps.new_file(to) as part:
            database.copy(part, lambda done, of: progress("copying", done, of))
            async with sqlite_reading.reading(part, SystemClock()) as copy:
                verified = await _audited(copy, place, progress)
    return _copied(to, verified)


async def dump(place: Place, to: Path, progress: Progress = _silent) -> dumps.Dumped:
    """Write all rows of a database to a new file while it may be served. Raises as `heddle_database.dump.dump`."""
    async with opened_for_reading(place) as database:
        done = 0

        def count(more: int) -> None:
            nonlocal done
            done += more
            progress("dumping rows", done, 0)

        return await dumps.dump(database, to, await own_tables(place.holding), count)


async def load(file: Path, place: Place, progress: Progress = _silent) -> tuple[dumps.Dumped, Audit]:
    """Load a dump into an empty database, as it is, and verify it: the same log goes on elsewhere.

    Raises:
        IllegalTransition: the file is no sound dump, or the database is in use or not empty.
        StoreUnavailable: the database is in trouble.
    """
    held, verified, _ = await _load(file, place, progress, restored=False)
    return held, verified


async def restore(file: Path, place: Place, progress: Progress = _silent) -> Copied:
    """Put a backup in the place of a database that is gone: with a new epoch, and without anybody's lease.

    Raises:
        IllegalTransition: the file is no backup, or the database is in use or not empty.
        StoreUnavailable: the database is in trouble.
    """
    with file.open("rb") as opened:
        head = opened.read(len(sqlite_reading.MAGIC))
    if head == sqlite_reading.MAGIC and place.url:
        remedy = "restore it to a folder, then move it with `heddle dump` and `heddle load`"
        raise IllegalTransition("file", str(file), "a backup of an embedded database", "go to PostgreSQL", remedy)
    if head != sqlite_reading.MAGIC:
        _, verified, epoch = await _load(file, place, progress, restored=True)
        return _copied(file, verified, epoch)
    with _NewFile(place) as part:
        async with sqlite_reading.reading(file, SystemClock()) as backup:
            if await revision_of(backup, place.holding) is None:
                raise _of_another(file, place)
            backup.copy(part, lambda done, of: progress("copying", done, of))
        async with opened_sqlite(part) as database:
            await migrate(database, place.holding.migrations)
            verified = await _audited(database, place, progress)
            epoch = await _begun_again(database, place)
    return _copied(file, verified, epoch)


async def raise_epoch(place: Place) -> int:
    """Begin a new epoch in a database that other tools have put back, and end the leases in it; returns the epoch.

    Raises:
        IllegalTransition: a process has it open.
        StoreUnavailable: it cannot be opened.
    """
    async with opened_for_writing(place) as database:
        return await database.write(begin_again)


async def _load(file: Path, place: Place, progress: Progress, *, restored: bool) -> tuple[dumps.Dumped, Audit, int]:
    """Load a dump, verify it and, for a restore, begin again; the last is the epoch, or zero."""
    held = dumps.examine(file)
    if place.holding.migrations.version_table not in held.revisions:
        raise _of_another(file, place)
    if place.url:
        async with opened_postgres(place.url) as database:
            await require_empty(database, place)
            verified = await _loaded(database, file, held, place, progress)
            return held, verified, await _begun_again(database, place) if restored else 0
    with _NewFile(place) as part:
        async with opened_sqlite(part) as database:
            verified = await _loaded(database, file, held, place, progress)
            epoch = await _begun_again(database, place) if restored else 0
    return held, verified, epoch


async def _loaded(database: Database, file: Path, held: dumps.Dumped, place: Place, progress: Progress) -> Audit:
    migrations = place.holding.migrations
    for chain in (migrations, migrations.after):
        if revision := held.revisions.get(chain.version_table):
            await migrate(database, chain, to=revision)
    rows, done = sum(held.rows.values()), 0

    def count(more: int) -> None:
        nonlocal done
        done += more
        progress("loading rows", min(done, rows), rows)

    await dumps.load(database, file, count)
    await migrate(database, migrations)
    return await _audited(database, place, progress)


async def _begun_again(database: Database, place: Place) -> int:
    """The log's new epoch; zero where there is no log."""
    return await database.write(begin_again) if place.holding.has_log else 0


async def _audited(database: Readable, place: Place, progress: Progress) -> Audit:
    if not place.holding.has_log:
        return Audit()
    return await audit(database, lambda done, of: progress("verifying events", done, of))


def _copied(path: Path, verified: Audit, epoch: int = 0) -> Copied:
    return Copied(path, path.stat().st_size, verified, epoch)


def _of_another(file: Path, place: Place) -> IllegalTransition:
    state = f"without tables of the service `{place.holding.migrations.service}`"
    remedy = "name the service that it was made of, with `--service`"
    return IllegalTransition("file", str(file), state, "be read", remedy)


class _NewFile:
    """A database file on its way into a data folder: in nobody's way until it is whole, and then there at once."""

    def __init__(self, place: Place) -> None:
        self._file = place.file
        self._part = self._file.with_name(self._file.name + _PART)
        self._lock: FileLock | None = None

    def __enter__(self) -> Path:
        """Raises IllegalTransition: the folder is in use, or has a database."""
        self._file.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(self._file)
        if self._file.exists() and self._file.stat().st_size:
            self._lock.release()
            remedy = "move the folder away, or name another"
            raise IllegalTransition("database", str(self._file), "there already", "be replaced", remedy)
        self._remove_part()
        dumps.make_private(self._part)
        return self._part

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        assert self._lock is not None
        try:
            if kind is None:
                self._part.replace(self._file)
                dumps.sync_folder(self._file.parent)
            self._remove_part()
        finally:
            self._lock.release()

    def _remove_part(self) -> None:
        for end in ("", "-wal", "-shm", ".lock"):
            self._part.with_name(self._part.name + end).unlink(missing_ok=True)
