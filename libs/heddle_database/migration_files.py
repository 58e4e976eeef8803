"""The version files of a service: how they are written, and what stands in them without running them.

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


def heads(folder: Path) -> list[str]:
    """The revisions that no other follows, read from the version files without running them."""
    revisions: set[str] = set()
    followed: set[str] = set()
    for file in folder.glob("*.py"):
        named = literals(file)
        if isinstance(revision := named.get("revision"), str):
            revisions.add(revision)
        if isinstance(before := named.get("down_revision"), str):
            followed.add(before)
    return sorted(revisions - followed)


def literals(file: Path) -> dict[str, object]:
    """What a version file names once and plainly, as `revision`, `down_revision` and `needs`."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {
        target.id: statement.value.value
        for statement in tree.body
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }
