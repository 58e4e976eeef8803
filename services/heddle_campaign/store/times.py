"""Spans of time in the unit of the rows."""

from datetime import timedelta


def micros(span: timedelta) -> int:
    """A span in microseconds."""
    return span // timedelta(microseconds=1)
