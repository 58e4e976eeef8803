"""Finds the files that the demonstration uses: examples of the source tree, or those inside the installed package."""

from pathlib import Path

from heddle_core.errors import CannotServe
from heddle_core.values import value


@value
class Examples:
    """The files."""

    brief: Path
    agent: Path
    scenarios: Path
    """Folder."""


def find_examples() -> Examples:
    """Raises CannotServe when they are nowhere."""
    here = Path(__file__)
    for root in (here.parents[1] / "examples", here.parents[3] / "examples"):
        found = Examples(root / "briefs" / "trail-shoes.md", root / "agents" / "demo-writer.yaml", root / "scenarios")
        if found.brief.is_file() and found.agent.is_file() and found.scenarios.is_dir():
            return found
    raise CannotServe("the demonstration", "its example files are not installed", "run it in Heddle's source tree")
