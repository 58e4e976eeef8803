"""Moments and spans of time between the wire and values, for every service beside the runtime."""

from datetime import timedelta

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from heddle_core.clock import MICROS_PER_SECOND, Micros

_MOST_SECONDS = 4_000_000_000
"""Beyond a century a span stays out of every range that anything has, without overflow."""


def timestamp(micros: int) -> Timestamp:
    """Microseconds since the epoch as a Timestamp."""
    seconds, rest = divmod(micros, MICROS_PER_SECOND)
    return Timestamp(seconds=seconds, nanos=rest * 1_000)


def timestamp_if(micros: int | None) -> Timestamp | None:
    """The same of a moment that may be missing."""
    return timestamp(micros) if micros is not None else None


def micros_of(stamp: Timestamp) -> Micros:
    """A Timestamp as microseconds since the epoch; an unset one is zero."""
    return Micros(stamp.seconds * MICROS_PER_SECOND + stamp.nanos // 1_000)


def duration(span: timedelta) -> Duration:
    """A span as a Duration."""
    value = Duration()
    value.FromTimedelta(span)
    return value


def span_of(message: Duration) -> timedelta:
    """A Duration as a span; a negative one is at most a second long, which is out of range all the same."""
    bounded = min(max(message.seconds, -1), _MOST_SECONDS)
    return timedelta(seconds=bounded, microseconds=message.nanos // 1_000)
