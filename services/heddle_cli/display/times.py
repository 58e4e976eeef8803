"""Times, durations and amounts as people read them."""

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp

from heddle.common.v1.usage_pb2 import Usage


def when(time: Timestamp) -> str:
    """A time in UTC to the second; a dash when it is not set."""
    if time.seconds == 0 and time.nanos == 0:
        return "-"
    return datetime.fromtimestamp(time.seconds, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def took(start: Timestamp, end: Timestamp) -> str:
    """The time between two; a dash when one of them is not set."""
    if start.seconds == 0 or end.seconds == 0:
        return "-"
    seconds = end.seconds - start.seconds + (end.nanos - start.nanos) / 1e9
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.1f} min"


def spent(usage: Usage) -> str:
    """What was used, in one line."""
    parts = [f"{usage.input_tokens} in", f"{usage.output_tokens} out"]
    if usage.tool_calls:
        parts.append(f"{usage.tool_calls} tool call{'s' if usage.tool_calls > 1 else ''}")
    cost = usage.cost.units + usage.cost.nanos / 1e9
    if cost:
        parts.append(f"{cost:.4f} {usage.cost.currency_code or 'USD'}")
    return ", ".join(parts)
