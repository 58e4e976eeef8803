"""Which files belong to the repository: what git tracks, and what it would if it were added now."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def tracked_files() -> list[Path]:
    """Paths below the root, sorted; files that are deleted in the work tree are left out."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    paths = (Path(name) for name in done.stdout.decode().split("\0") if name)
    return sorted(path for path in paths if (ROOT / path).is_file())
