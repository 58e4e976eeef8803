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
    campaign: Path
    """Folder."""


def find_examples() -> Examples:
    """Raises CannotServe when they are nowhere."""
    here = Path(__file__)
    for root in (here.parents[1] / "examples", here.parents[3] / "examples"):
        found = Examples(
            brief=root / "briefs" / "trail-shoes.md",
            agent=root / "agents" / "demo-writer.yaml",
            scenarios=root / "scenarios",
            campaign=root / "campaigns" / "trail-shoes",
        )
        folders = (found.scenarios, found.campaign)
        if found.brief.is_file() and found.agent.is_file() and all(each.is_dir() for each in folders):
            return found
    raise CannotServe("the demonstration", "its example files are not installed", "run it in Heddle's source tree")
