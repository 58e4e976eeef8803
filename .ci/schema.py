"""Draws services/*/store/migrations/sqlite.sql from the version files, or with --check says whether it is up to date.

python .ci/schema.py            write the scripts
python .ci/schema.py --check    exit 1 if one would come out otherwise; writes nothing

A first start makes its tables by the script instead of running each version file (heddle_database.new_tables).
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from heddle_core.clock import SystemClock
from heddle_database.migration_files import Migrations
from heddle_database.new_tables import draw
from heddle_database.sqlite import SqliteDatabase

ROOT = Path(__file__).resolve().parent.parent


def main(arguments: list[str]) -> int:
    """Write or check; returns the exit code."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write(__doc__ or "")
        return 2
    stale = 0
    folders = sorted({file.parent for file in ROOT.glob("services/heddle_*/store/migrations/v*.py")})
    for folder in folders:
        service = folder.parts[-3].removeprefix("heddle_")
        text = asyncio.run(_drawn(Migrations(service, folder)))
        script = folder / "sqlite.sql"
        if not arguments:
            script.write_text(text, encoding="utf-8")
        elif not script.exists() or script.read_text(encoding="utf-8") != text:
            sys.stderr.write(f"{script.relative_to(ROOT)} is out of date: run `python .ci/schema.py`\n")
            stale += 1
    sys.stdout.write(f"schema: {len(folders)} scripts, {stale} of them out of date\n")
    return 1 if stale else 0


async def _drawn(migrations: Migrations) -> str:
    with tempfile.TemporaryDirectory() as folder:
        database = await SqliteDatabase.open(Path(folder, "empty.db"), clock=SystemClock())
        try:
            return await draw(database, migrations)
        finally:
            await database.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
