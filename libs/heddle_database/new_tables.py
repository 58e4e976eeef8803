"""Makes the tables of a service that has none yet, from one script of what all its version files come to.

Alembic takes a third of a second to load, which every first start would wait for. A script is drawn from the version
files by alembic itself (`draw`, run by .ci/schema.py) and names their digest: one that no longer fits them is not
used, and the version files are run one by one as ever.
"""

import hashlib
from pathlib import Path

from heddle_core.failpoints import failpoint
from heddle_database.migration_files import Migrations
from heddle_database.migrations import migrate
from heddle_database.port import Database, Transaction

_MARK = "-- digest: "
_BETWEEN = ";\n\n"


async def make_tables(database: Database, migrations: Migrations, script: Path) -> None:
    """Bring the tables to the state that the code expects, by `script` where there are none, else as `migrate` does.

    Raises as `migrate`.
    """
    statements = _statements(script, migrations)
    if statements and not await database.read(lambda tx: _are_there(tx, migrations)):

        def make(tx: Transaction) -> None:
            for statement in statements:
                tx.run(statement)
            failpoint("migration")

        failpoint("migration")
        await database.write(make, bulk=True)
    await migrate(database, migrations)


async def draw(database: Database, migrations: Migrations) -> str:
    """The script for SQLite, drawn from an empty `database`, into which the version files are run."""
    revision = await migrate(database, migrations)
    made = await database.read(
        lambda tx: tx.rows("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type DESC, rowid")
    )
    version = f"INSERT INTO {migrations.version_table} (version_num) VALUES ('{revision}')"  # noqa: S608 - our words
    statements = [*("\n".join(map(str.rstrip, sql.expandtabs(4).splitlines())) for (sql,) in made), version]
    head = "-- What the version files come to on SQLite. Made by .ci/schema.py: do not edit.\n"
    return head + _MARK + _digest(migrations) + "\n\n" + _BETWEEN.join(statements) + ";\n"


def _statements(script: Path, migrations: Migrations) -> list[str]:
    """What the script says, unless it is missing or stale."""
    text = script.read_text(encoding="utf-8") if script.exists() else ""
    head, _, statements = text.partition("\n\n")
    return statements.rstrip(";\n").split(_BETWEEN) if head.endswith(_MARK + _digest(migrations)) else []


def _are_there(tx: Transaction, migrations: Migrations) -> bool:
    named = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = :name"
    return tx.row(named, name=migrations.version_table) is not None


def _digest(migrations: Migrations) -> str:
    digest = hashlib.sha256()
    for file in sorted(migrations.folder.glob("*.py")):
        digest.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()
