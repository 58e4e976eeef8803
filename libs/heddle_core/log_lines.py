"""Log lines with named fields: `_log.warning("keys not refreshed", problem=...)`, on the standard library's logging.

What a line says stands apart from how it is written: a process sets that up once, and a library that logs through
`logging` alone ends up in the same stream. No logging package is loaded for it, since that took a tenth of a second
at every start.
"""

import logging


class LogLines:
    """Writes under one logger's name, with fields that every line carries."""

    __slots__ = ("_fields", "_logger")

    def __init__(self, name: str, **fields: object) -> None:
        self._logger = logging.getLogger(name)
        self._fields = fields

    def bind(self, **fields: object) -> "LogLines":
        """The same with more fields on every line."""
        return LogLines(self._logger.name, **{**self._fields, **fields})

    def info(self, event: str, **fields: object) -> None:
        """What goes as it should."""
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """What somebody may want to look into, though work goes on."""
        self._write(logging.WARNING, event, fields)

    def error(self, event: str, *, exc_info: BaseException | None = None, **fields: object) -> None:
        """What went wrong; with the traceback of `exc_info`, if given."""
        self._write(logging.ERROR, event, fields, exc_info)

    def exception(self, event: str, **fields: object) -> None:
        """What went wrong, with the traceback of the exception that is being handled."""
        self._write(logging.ERROR, event, fields, True)

    def _write(
        self, level: int, event: str, fields: dict[str, object], exc_info: BaseException | bool | None = None
    ) -> None:
        if self._logger.isEnabledFor(level):
            # The event is no format string: what it says may hold a percent sign.
            self._logger.log(
                level, "%s", event, exc_info=exc_info, extra={"fields": {**self._fields, **fields}}, stacklevel=3
            )


def fields_of(record: logging.LogRecord) -> dict[str, object]:
    """The named fields of a line; none for a line that was not written by `LogLines`."""
    found: dict[str, object] = getattr(record, "fields", {})
    return found
