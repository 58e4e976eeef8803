"""What a party to a run has seen, as lines of JSON: the checker reads these files and nothing else of the suite."""

import json
import time
from pathlib import Path
from typing import Any


class Journal:
    """One file, written by one process. A line is whole or absent: each goes out in one write."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a", encoding="utf-8")

    def write(self, kind: str, **told: Any) -> None:
        """Keep a line: `kind` says what it is about, `at` when it was written, in seconds since 1970."""
        self._file.write(json.dumps({"kind": kind, "at": time.time(), **told}, ensure_ascii=False) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Write no more."""
        self._file.close()
