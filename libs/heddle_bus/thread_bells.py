"""Events of threads as doorbells: they say that something moved, and carry no truth.

What is published while nobody listens, or is wiped, is found by whoever listens in another way (SEMANTICS 32).
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial

from heddle_bus import subjects
from heddle_bus.port import Bus, Gap
from heddle_core.background import in_background
from heddle_core.faults import HeddleError
from heddle_core.log_lines import LogLines

Bell = Callable[[str, str], Awaitable[None]]
"""Called with tenant and thread."""

_log = LogLines(__name__)


@asynccontextmanager
async def ringing(bus: Bus, bells: Mapping[str, Bell], missed: Callable[[], None]) -> AsyncGenerator[None]:
    """Ring while the block lasts, whenever NATS is there; `missed` is called where rings may have been lost.

    `bells` maps names of events, as `RunCompleted`, to what they ring.
    """
    async with in_background(
        {f"hearing of {event}": partial(_listen, bus, event, bell, missed) for event, bell in bells.items()}
    ):
        yield


async def _listen(bus: Bus, event: str, bell: Bell, missed: Callable[[], None]) -> None:
    async with await bus.subscribe(subjects.thread_events(event=event)) as heard:
        async for each in heard:
            if isinstance(each, Gap):
                missed()
                continue
            tenant, thread_id, _ = subjects.parts_of_thread_event(each.subject)
            try:
                await bell(tenant, thread_id)
            except HeddleError as error:
                _log.warning("a doorbell was not answered", reason=error.reason, problem=str(error))
