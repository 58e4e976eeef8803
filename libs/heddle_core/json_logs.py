"""How this process writes its log: one line of JSON each, to standard error."""

import json
import logging
import sys
from datetime import UTC, datetime

from heddle_core.log_lines import fields_of


def set_up_logs(level: str) -> None:
    """Write lines of `level` and above; once per process, before anything else."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.getLevelNamesMapping()[level], handlers=[handler])


class JsonLines(logging.Formatter):
    """A record as one JSON object: its fields, then `level`, `event`, `timestamp` and, of an exception, `exception`."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line = {
            **fields_of(record),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z"),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)
