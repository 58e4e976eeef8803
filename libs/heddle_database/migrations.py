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

There is no way down: old code is served by a backup, and a new version must be able to run beside the old one.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext, MigrationStep
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from heddle_core.errors import IllegalTransition
from heddle_database.port import Database


@dataclass(frozen=True)
class Migrations:
    """The version files of one service."""

    service: str
    """Names the version table, `<service>_schema_version`: lower case letters, digits and underscores."""
    folder: Path
    """Where the version files lie."""


async def migrate(database: Database, migrations: Migrations) -> str | None:
    """Run what is missing, all or nothing; returns the revision that the tables are at (None: there are no files).

    Raises `IllegalTransition`, and changes nothing, if the tables were written by a newer version of the code.
    What a version file raises comes through, after everything was rolled back.
    """
    return await database.alter(lambda connection: _upgrade(connection, migrations))


def _upgrade(connection: Connection, migrations: Migrations) -> str | None:
    scripts = ScriptDirectory(migrations.folder, version_locations=[migrations.folder])
    newest = scripts.get_current_head()

    def missing(present: Sequence[str], _context: MigrationContext) -> Iterator[MigrationStep]:
        _refuse_unknown(present, scripts, migrations, newest)
        path = list(scripts.iterate_revisions("head", tuple(present), implicit_base=True))
        for script in reversed(path):
            yield MigrationStep.upgrade_from_script(scripts.revision_map, script)

    context = MigrationContext.configure(
        connection,
        opts={
            "version_table": f"{migrations.service}_schema_version",
            "transactional_ddl": True,
            "fn": missing,
        },
    )
    context.run_migrations(op=Operations(context))
    return newest


def _refuse_unknown(
    present: Sequence[str], scripts: ScriptDirectory, migrations: Migrations, newest: str | None
) -> None:
    known = {script.revision for script in scripts.walk_revisions()}
    unknown = [revision for revision in present if revision not in known]
    if unknown:
        raise IllegalTransition(
            "database",
            f"of {migrations.service}",
            f"at schema revision {', '.join(unknown)}, newer than {newest}, the newest of this code,",
            "be served",
            "install the version of Heddle that wrote it, or restore a backup made before",
        )
