"""Refuses files that no longer fit in a head: more than 400 lines of code that people wrote.

A long file is a sign that two things live in it. Find the second thing and give it a file; do not squeeze lines.
"""

import sys
from pathlib import Path

from tracked import ROOT, tracked_files

MOST = 400
FOLDERS = ("services", "libs", "tests", "bench", "proto", ".ci")
GENERATED = Path("libs/heddle")
SUFFIXES = {".py", ".pyi", ".proto", ".sh", ".ts", ".tsx", ".go", ".java"}


def main() -> int:
    """Name every file that is too long; returns the exit code."""
    counted = {path: _lines(path) for path in tracked_files() if is_ours(path)}
    long = {path: lines for path, lines in counted.items() if lines > MOST}
    for path, lines in long.items():
        sys.stderr.write(f"{path}: {lines} lines, {lines - MOST} more than a file may have\n")
    sys.stdout.write(f"lines: {len(counted)} files, {len(long)} of them longer than {MOST} lines\n")
    return 1 if long else 0


def is_ours(path: Path) -> bool:
    return path.parts[0] in FOLDERS and path.suffix in SUFFIXES and not path.is_relative_to(GENERATED)


def _lines(path: Path) -> int:
    return len((ROOT / path).read_bytes().splitlines())


if __name__ == "__main__":
    sys.exit(main())
