"""What Heddle's writing connection runs with, read back from one that its own code opens on a database's file.

    python bench/sqlite_settings.py FILE

Every connection of the server is refused unless it reads these very values back (heddle_database), so this is what
served. The server must have stopped.
"""

import json
import sys
from pathlib import Path

import processes

processes.use_sources()

from heddle_database.sqlite_connection import HeldConnection, SqliteFile, SqliteOptions, writing  # noqa: E402

NAMES = ("journal_mode", "synchronous", "page_size", "cache_size", "foreign_keys", "wal_autocheckpoint")


def main() -> None:
    file = SqliteFile(Path(sys.argv[1]))
    held = HeldConnection(file, writing(SqliteOptions(), file.free_pages()))
    driver = held.driver()
    print(json.dumps({name: driver.execute(f"PRAGMA {name}").fetchone()[0] for name in NAMES}))
    held.drop()


if __name__ == "__main__":
    main()
