"""What is logged while a block runs, line by line, with its fields."""

import logging
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from heddle_core.log_lines import fields_of


@contextmanager
def capture_logs() -> Generator[list[dict[str, Any]]]:
    """A list that fills: each line's fields, its `event`, its `level`, and the exception in `exc_info`."""
    lines: list[dict[str, Any]] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told = {"event": record.getMessage(), "level": record.levelname.lower()}
            caught = record.exc_info[1] if record.exc_info else None
            lines.append({**fields_of(record), **told, "exc_info": caught})

    root, keeping = logging.getLogger(), Keeping()
    before = root.level
    root.addHandler(keeping)
    root.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        root.setLevel(before)
        root.removeHandler(keeping)
