"""Where to go on reading a stream that may have changed meanwhile: one rule for every implementation."""

from heddle_bus.port import Gap, GapReason, StreamIdentity, StreamPosition


def resume(after: StreamPosition | None, stream: StreamIdentity) -> tuple[StreamPosition, Gap | None]:
    """The position after which reading `stream` goes on, and what the reader must be told first."""
    before_first = StreamPosition(stream.created, max(0, stream.first_sequence - 1))
    if after is None:
        return before_first, None
    if after.created != stream.created or after.sequence > stream.last_sequence:
        return before_first, Gap(GapReason.REPLACED)
    trimmed = before_first.sequence - after.sequence
    if trimmed > 0:
        return before_first, Gap(GapReason.TRIMMED, trimmed)
    return after, None
