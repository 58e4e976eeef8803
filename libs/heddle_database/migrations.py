"""Brings a service's tables to the state that its code expects, before it serves.

What alembic usually keeps in each project's env.py stands here once; a service holds version files only, in
`services/<package>/store/migrations/`. Each service has its own version table, so several can share a database.

A version file is alembic's, but its `upgrade` is given the operations instead of importing `alembic.op`: that is one
variable for the whole process, while two databases may be brought up at the same time.

    \"\"\"Threads and their events.\"\"\"

    from alembic.operations import Operations

    revision = "0001"
    down_revision = None

    def upgrade(op: Operations) -> None:
        op.execute("CREATE TABLE threads (...)")

There is no way down: old code is served by a backup, and a new version must be able to run beside the old one. What an
old process could not live with, as the end of a column that it reads, goes into `migrations/after/`: the same kind of
files, a chain of their own, run by `finish` once every old process is gone. Each names, as `needs`, the revision of the
first chain that it builds on, which old code does not know: so it refuses to start from then on.
"""

import ast
from dataclasses import dataclass
from pathlib import Path

from heddle_database.port import Database, StatementFailed, Transaction


@dataclass(frozen=True)
class Migrations:
    """The version files of one service."""

    service: str
    """Names the version table, `<service>_schema_version`: lower case letters, digits and underscores."""
    folder: Path
    """Where the version files lie."""

    @property
    def version_table(self) -> str:
        """Where the service's revision is kept."""
        return f"{self.service}_schema_version"

    @property
    def after(self) -> "Migrations":
        """What may only be run when no process of an older version is left."""
        return Migrations(f"{self.service}_after", self.folder / "after")


async def migrate(database: Database, migrations: Migrations, *, to: str = "") -> str | None:
    """Run what is missing, all or nothing; returns the revision that the tables are at (None: there are no files).

    With `to`, up to that revision only: for tables that are to take what an older version has dumped.

    Tables that are as the code expects are found so without loading alembic, which costs a third of a second at
    every start.

    Raises `IllegalTransition`, and changes nothing, if the tables were written by a newer version of the code.
    What a version file raises comes through, after everything was rolled back.
    """
    wanted = [to] if to else _heads(migrations.folder)
    if wanted and await _present(database, migrations) == wanted:
        return wanted[0]
    from heddle_database.upgrades import upgrade

    return await database.alter(lambda connection: upgrade(connection, migrations, to))


async def finish(database: Database, migrations: Migrations) -> str | None:
    """Run what had to wait until every process of an older version is gone; as `migrate`, which is done first.

    At once where nobody else can have the database open; else by an explicit command, at the end of a rollout.
    """
    after = migrations.after
    newest = _heads(after.folder)
    await migrate(database, migrations)
    if not newest or await _present(database, after) == newest:
        return newest[0] if newest else None
    known = {_literals(file).get("revision") for file in migrations.folder.glob("*.py")}
    for file in after.folder.glob("*.py"):
        assert _literals(file).get("needs") in known, f"{file.name} does not say which revision it needs"
    from heddle_database.upgrades import upgrade

    return await database.alter(lambda connection: upgrade(connection, after))


async def _present(database: Database, migrations: Migrations) -> list[str]:
    def read(tx: Transaction) -> list[str]:
        return [row[0] for row in tx.rows(f"SELECT version_num FROM {migrations.version_table}")]  # noqa: S608

    try:
        return await database.read(read)
    except StatementFailed:  # no such table: nothing was ever run here
        return []


def _heads(folder: Path) -> list[str]:
    """The revisions that no other follows, read from the version files without running them."""
    revisions: set[str] = set()
    followed: set[str] = set()
    for file in folder.glob("*.py"):
        named = _literals(file)
        if isinstance(revision := named.get("revision"), str):
            revisions.add(revision)
        if isinstance(before := named.get("down_revision"), str):
            followed.add(before)
    return sorted(revisions - followed)


def _literals(file: Path) -> dict[str, object]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {
        target.id: statement.value.value
        for statement in tree.body
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }
