"""Makes docs/contract/run-states.md of the table of transitions, or with --check says whether it is up to date.

python .ci/diagram.py            write the page
python .ci/diagram.py --check    exit 1 if it would come out otherwise; writes nothing
"""

import sys
from pathlib import Path

from heddle_runtime.runs.state import TRANSITIONS, RunState, Transition

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "contract" / "run-states.md"

HEAD = """# The states of a run

<!-- Made by .ci/diagram.py from TRANSITIONS in services/heddle_runtime/runs/state.py. Change it there. -->

Every write of a run's state goes through this table, and names the state and the fence that it expects. What the table
does not have cannot happen: the write is refused, and nothing is written.
"""


def main(arguments: list[str]) -> int:
    """Write or check; returns the exit code."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write(__doc__ or "")
        return 2
    text = page()
    if arguments:
        fresh = PAGE.exists() and PAGE.read_text() == text
        sys.stdout.write("states: docs/contract/run-states.md is up to date\n" if fresh else "")
        sys.stderr.write("" if fresh else "docs/contract/run-states.md is out of date: run `python .ci/diagram.py`\n")
        return 0 if fresh else 1
    PAGE.write_text(text)
    return 0


def page() -> str:
    """The page with its diagram and its table."""
    return f"{HEAD}\n{diagram()}\n{table()}"


def diagram() -> str:
    """The transitions as a Mermaid state diagram."""
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {RunState.QUEUED.name}: a turn is accepted"]
    for (state, transition), after in TRANSITIONS.items():
        lines.append(f"    {state.name} --> {after.name}: {transition.value}")
    lines += [f"    {state.name} --> [*]" for state in RunState if state.terminal]
    return "\n".join([*lines, "```\n"])


def table() -> str:
    """State by state, what each transition leads to; a blank is refused."""
    head = "| | " + " | ".join(f"{each.name}: {each.value}" for each in Transition) + " |"
    rule = "|---" * (len(Transition) + 1) + "|"
    rows = [
        f"| **{state.name}** | "
        + " | ".join(found.name if (found := TRANSITIONS.get((state, each))) else "" for each in Transition)
        + " |"
        for state in RunState
    ]
    return "\n".join([head, rule, *rows]) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
