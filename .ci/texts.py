"""Refuses words that must not be in the repository: marks of unfinished work, and traces of one machine.

A mark of unfinished work promises something that nobody tracks: finish it, or write an issue. A path or host of one
machine means that something works there alone, or tells strangers how a network is built.
"""

import re
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

from tracked import ROOT, tracked_files

LOOPBACK = {"localhost", "127.0.0.1", "localhost.localdomain"}
# Written by others, word for word.
FOREIGN = (Path("LICENSE"), Path("third_party"))
RULES = {
    "unfinished work": re.compile(r"\b(TO[D]O|FIX[M]E|XX[X])\b"),
    # A slash before it, as in a URL's path, is no machine's; nor is a name in capitals or angle brackets.
    "a machine's path": re.compile(
        r"(?<![\w./-])/(root|home/[a-z]|Users/[A-Za-z]|work/[a-z])[\w./-]*|\b[A-Z]:\\Users\\"
    ),
    "a registry's address": re.compile(r"--(extra-)?index-url[= ]+\S*//|pypi\.org/simple|files\.pythonhosted\.org"),
}


def main() -> int:
    """Name every place; returns the exit code."""
    rules = {**RULES, "this machine's network": _network()}
    found = 0
    files = [path for path in tracked_files() if not any(path.is_relative_to(each) for each in FOREIGN)]
    for path in files:
        try:
            text = (ROOT / path).read_text()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            for name, rule in rules.items():
                if match := rule.search(line):
                    sys.stderr.write(f"{path}:{number}: {name}: {match[0]}\n")
                    found += 1
    sys.stdout.write(f"texts: {len(files)} files, {found} words that must not be there\n")
    return 1 if found else 0


def _network() -> re.Pattern[str]:
    """The names of this machine, and of the package indexes that its pip goes to, public ones included."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    listed = subprocess.run(command, check=False, capture_output=True, text=True).stdout
    names = {urlsplit(url).hostname or urlsplit(url).path for url in re.findall(r"(?:https?|file)://[^\s'\"]+", listed)}
    # A short name would be found in ordinary words.
    names = {name for name in {*names, socket.gethostname()} if len(name) >= 8 and name not in LOOPBACK}
    return re.compile("|".join(re.escape(name) for name in sorted(names)) or r"(?!)")


if __name__ == "__main__":
    sys.exit(main())
