"""What `heddle --help` prints, kept as text: who asks what there is should not wait for a tenth of a second of typer.

The text is typer's own, made by `python .ci/help_text.py` and checked against the tree of commands by `make house`.
"""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

TEXT = Path(__file__).with_name("help.txt")
COLUMNS = 80
"""Typer writes no wider page than this, so that from here on there is only one."""


def help_page(arguments: Sequence[str]) -> str:
    """The page, if that is all that is asked for and the terminal has room for it; else empty."""
    asked = list(arguments) in (["--help"], ["-h"]) and "_HEDDLE_COMPLETE" not in os.environ
    if not asked or shutil.get_terminal_size().columns < COLUMNS:
        return ""
    return TEXT.read_text(encoding="utf-8")
