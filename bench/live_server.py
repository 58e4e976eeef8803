"""`heddle up` with a model that speaks on a clock: every piece of text is the moment at which it was due.

    python bench/live_server.py PIECES PIECES_PER_SECOND up --listen ...

The scripted model's stream is replaced in this process alone: no setting of Heddle gives words a time, and a model
server beside it would take the processors that are measured. A piece that the event loop comes to late still carries
the moment at which a provider would have sent it, so waiting behind other work counts as delay.
"""

import asyncio
import sys
import time
from collections.abc import AsyncGenerator

from heddle_cli.__main__ import main
from heddle_runtime.models.port import (
    FinishReason,
    ModelEvent,
    ModelReply,
    ModelRequest,
    ModelUsage,
    TextDelta,
    TextPart,
    UserMessage,
)
from heddle_runtime.models.scripted import ScriptedModel


def speak_on_a_clock(pieces: int, per_second: float) -> None:
    """Have every scripted model say `pieces` moments, `per_second` of them."""

    async def stream(_model: ScriptedModel, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        began = _moment(request)
        said: list[str] = []
        for place in range(1, pieces + 1):
            due = began + place / per_second
            await asyncio.sleep(max(due - time.monotonic(), 0))
            piece = f"{due:.6f} "
            said.append(piece)
            yield TextDelta(piece)
        yield ModelReply("".join(said), "", (), FinishReason.STOP, ModelUsage(), "clock")

    ScriptedModel.stream = stream  # type: ignore[method-assign]


def _moment(request: ModelRequest) -> float:
    """When to begin, of the monotonic clock: what the user said, so that all turns of a measurement speak together."""
    said = request.messages[-1]
    assert isinstance(said, UserMessage) and isinstance(said.parts[0], TextPart)
    return float(said.parts[0].text)


if __name__ == "__main__":
    speak_on_a_clock(int(sys.argv.pop(1)), float(sys.argv.pop(1)))
    sys.exit(main())
