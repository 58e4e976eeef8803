"""How this process writes its log: one line of JSON each, to standard error."""

import logging
import sys

import structlog


def set_up_logs(level: str) -> None:
    """Write lines of `level` and above; once per process, before anything else."""
    number = logging.getLevelNamesMapping()[level]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=number, stream=sys.stderr, format='{"level": "%(levelname)s", "event": "%(message)s"}')
