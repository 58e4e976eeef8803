"""Runs version files through alembic. Loaded only when there is something to run."""

from collections.abc import Iterator, Sequence

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext, MigrationStep
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from heddle_core.errors import IllegalTransition
from heddle_core.failpoints import failpoint
from heddle_database.migration_files import Migrations


def upgrade(connection: Connection, migrations: Migrations, to: str = "") -> str | None:
    """Run what is missing, up to a revision if one is named; returns the revision that the tables are at then.

    Raises as `migrate` does.
    """
    scripts = ScriptDirectory(migrations.folder, version_locations=[migrations.folder])
    newest = scripts.get_current_head()

    def missing(present: Sequence[str], _context: MigrationContext) -> Iterator[MigrationStep]:
        _refuse_unknown([*present, *([to] if to else [])], scripts, migrations, newest)
        path = list(scripts.iterate_revisions(to or "head", tuple(present), implicit_base=True))
        for script in reversed(path):
            yield MigrationStep.upgrade_from_script(scripts.revision_map, script)

    context = MigrationContext.configure(
        connection,
        opts={
            "version_table": migrations.version_table,
            "transactional_ddl": True,
            "fn": missing,
        },
    )
    failpoint("migration")
    context.run_migrations(op=Operations(context))
    failpoint("migration")
    return to or newest


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
