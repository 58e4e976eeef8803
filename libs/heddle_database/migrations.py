"""Brings a service's tables to the state that its code expects, before it serves, by its version files."""

from heddle_database.migration_files import Migrations, heads, literals
from heddle_database.port import Database, StatementFailed, Transaction


async def migrate(database: Database, migrations: Migrations, *, to: str = "") -> str | None:
    """Run what is missing, all or nothing; returns the revision that the tables are at (None: there are no files).

    With `to`, up to that revision only: for tables that are to take what an older version has dumped.

    Tables that are as the code expects are found so without loading alembic, which costs a third of a second at
    every start.

    Raises `IllegalTransition`, and changes nothing, if the tables were written by a newer version of the code.
    What a version file raises comes through, after everything was rolled back.
    """
    wanted = [to] if to else heads(migrations.folder)
    if wanted and await _present(database, migrations) == wanted:
        return wanted[0]
    from heddle_database.upgrades import upgrade

    return await database.alter(lambda connection: upgrade(connection, migrations, to))


async def finish(database: Database, migrations: Migrations) -> str | None:
    """Run what had to wait until every process of an older version is gone; as `migrate`, which is done first.

    At once where nobody else can have the database open; else by an explicit command, at the end of a rollout.
    """
    after = migrations.after
    newest = heads(after.folder)
    await migrate(database, migrations)
    if not newest or await _present(database, after) == newest:
        return newest[0] if newest else None
    known = {literals(file).get("revision") for file in migrations.folder.glob("*.py")}
    for file in after.folder.glob("*.py"):
        assert literals(file).get("needs") in known, f"{file.name} does not say which revision it needs"
    from heddle_database.upgrades import upgrade

    return await database.alter(lambda connection: upgrade(connection, after))


async def _present(database: Database, migrations: Migrations) -> list[str]:
    def read(tx: Transaction) -> list[str]:
        return [row[0] for row in tx.rows(f"SELECT version_num FROM {migrations.version_table}")]  # noqa: S608

    try:
        return await database.read(read)
    except StatementFailed:  # no such table: nothing was ever run here
        return []
