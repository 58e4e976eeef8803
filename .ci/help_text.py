"""Makes services/heddle_cli/help.txt of the tree of commands, or with --check says whether it is up to date.

python .ci/help_text.py            write the text
python .ci/help_text.py --check    exit 1 if it would come out otherwise; writes nothing
"""

import contextlib
import io
import os
import sys

from heddle_cli.help_page import COLUMNS, TEXT
from heddle_cli.root import build


def main(arguments: list[str]) -> int:
    """Write or check; returns the exit code."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write(__doc__ or "")
        return 2
    text = page()
    if arguments:
        fresh = TEXT.exists() and TEXT.read_text(encoding="utf-8") == text
        sys.stdout.write("help: heddle_cli/help.txt is up to date\n" if fresh else "")
        sys.stderr.write(
            "" if fresh else "services/heddle_cli/help.txt is out of date: run `python .ci/help_text.py`\n"
        )
        return 0 if fresh else 1
    TEXT.write_text(text, encoding="utf-8")
    return 0


def page() -> str:
    """What typer prints where nothing of the environment shows."""
    os.environ["COLUMNS"] = str(COLUMNS)
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
        build()(["--help"], prog_name="heddle")
    return said.getvalue()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
