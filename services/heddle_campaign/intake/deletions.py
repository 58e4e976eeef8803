"""Threads that were deleted, read from the event stream, so that what was learned from them is forgotten.

It reads from the stream's beginning at each start, which is some days of deletions and no other events: erasing again
erases nothing. Where the stream may have lost some, a round over the cited threads finds them.
"""

from heddle_bus import subjects
from heddle_bus.events import DELETED
from heddle_bus.port import Bus, Gap
from heddle_campaign.facade.forgetting import Forgetting
from heddle_core.faults import HeddleError
from heddle_core.log_lines import LogLines

_log = LogLines(__name__)


async def hear_deletions(bus: Bus, forgetting: Forgetting) -> None:
    """Forget every thread whose deletion is told, for ever."""
    async with bus.follow((subjects.thread_events(event=DELETED),), after=None) as heard:
        async for each in heard:
            if isinstance(each, Gap):
                forgetting.look_now()
                continue
            tenant, thread_id, _ = subjects.parts_of_thread_event(each.subject)
            try:
                await forgetting.forget_thread(tenant, thread_id)
            except HeddleError as error:
                forgetting.look_now()
                _log.warning("a thread is forgotten later", thread=thread_id, reason=error.reason, problem=str(error))
