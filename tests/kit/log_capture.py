"""What is logged while a block runs, line by line, with its fields."""

import asyncio
import logging
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

from heddle_core.log_lines import fields_of


class LogLinesSeen(list[dict[str, Any]]):
    """A list that fills: each line's fields, its `event`, its `level`, and the exception in `exc_info`."""

    def __init__(self) -> None:
        super().__init__()
        self.more = asyncio.Event()

    async def of(self, event: str, count: int) -> list[dict[str, Any]]:
        """The lines of an event, as soon as there are so many: who calls may be answered before a line is written."""
        async with asyncio.timeout(10):
            while len(found := [line for line in self if line["event"] == event]) < count:
                self.more.clear()
                await self.more.wait()
        return found


@contextmanager
def capture_logs() -> Generator[LogLinesSeen]:
    """What is logged inside of the block, on the event loop's thread."""
    lines = LogLinesSeen()

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told = {"event": record.getMessage(), "level": record.levelname.lower()}
            caught = record.exc_info[1] if record.exc_info else None
            lines.append({**fields_of(record), **told, "exc_info": caught})
            lines.more.set()

    root, keeping = logging.getLogger(), Keeping()
    before = root.level
    root.addHandler(keeping)
    root.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        root.setLevel(before)
        root.removeHandler(keeping)
