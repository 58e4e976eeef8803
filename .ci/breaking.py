"""Refuses a change of the contract that would break a client of the last release.

    python .ci/breaking.py            compare proto/ with the baseline; name every break
    python .ci/breaking.py --renew    make the baseline anew: at a release, with its heading in CHANGELOG.md

The baseline is what was last released, never the tree itself: proto/baseline.binpb holds its descriptors, and
proto/baseline.version names it, or says `none` while the descriptors are empty. CHANGELOG.md says what was
last released: once it has a heading such as `## 0.1.0 - 2026-12-01`, a baseline of another version is an
error, so no release can leave it behind. Packages below v1 are not promised, and not compared.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NONE = "none"
BREAKS = 100  # buf's exit code for findings; every other but 0 means that it could not compare


def main(arguments: list[str]) -> int:
    """Compare or renew; returns the exit code."""
    if arguments not in ([], ["--renew"]):
        sys.stderr.write(__doc__ or "")
        return 2
    baseline, label = ROOT / "proto" / "baseline.binpb", ROOT / "proto" / "baseline.version"
    released, compared = last_released(ROOT / "CHANGELOG.md"), label.read_text().strip()
    if compared != NONE and (code := _compare(baseline)):
        if code == BREAKS:
            sys.stderr.write(f"This breaks clients of {compared}: add beside it, or make a new package version.\n")
        return code
    if arguments:
        return _renew(baseline, label, released)
    if compared != released:
        sys.stderr.write(f"{released} is released and the baseline is {compared}: run with --renew, and commit.\n")
        return 1
    sys.stdout.write(f"contract: compared with release {compared}, nothing breaks\n")
    return 0


def last_released(changelog: Path) -> str:
    """Version of the topmost release heading, or `none`; an unreleased section does not count."""
    text = changelog.read_text() if changelog.exists() else ""
    heading = re.search(r"^## \[?v?(\d+\.\d+\.\d+[\w.-]*)", text, re.MULTILINE)
    return heading.group(1) if heading else NONE


def _compare(baseline: Path) -> int:
    # Imports stay in the image, or buf could not resolve our options in it; they are not ours to compare.
    return _buf("breaking", "proto", "--against", str(baseline), "--exclude-imports")


def _renew(baseline: Path, label: Path, released: str) -> int:
    if released == NONE:
        sys.stderr.write("CHANGELOG.md names no release: write its heading first.\n")
        return 1
    if code := _buf("build", "proto", "--exclude-source-info", "--output", str(baseline)):
        return code
    label.write_text(f"{released}\n")
    sys.stdout.write(f"proto/baseline.binpb is now release {released}\n")
    return 0


def _buf(*arguments: str) -> int:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.run(["buf", *arguments], cwd=ROOT, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
