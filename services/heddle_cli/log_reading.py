"""Reads a whole log, page by page."""

from heddle.runtime.v1.event_pb2 import ThreadEvent
from heddle.runtime.v1.thread_service_pb2 import ListEventsRequest
from heddle_client.port import AgentRuntime

_PAGE = 500
"""Facts a page: well below the size that a response may have, as facts usually are."""


async def read_log(runtime: AgentRuntime, thread_id: str) -> list[ThreadEvent]:
    """All facts of a thread that are kept, oldest first, as far as the log went when this began."""
    found: list[ThreadEvent] = []
    cursor, last = 0, None
    while last is None or cursor < last:
        page = await runtime.list_events(ListEventsRequest(thread_id=thread_id, after_sequence=cursor, page_size=_PAGE))
        last = page.last_sequence if last is None else last
        if not page.events:
            break
        found.extend(page.events)
        cursor = page.next_after_sequence
    return found
