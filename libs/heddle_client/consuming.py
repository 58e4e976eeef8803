"""Thread events from the bus, typed, each once and in order, with what the bus lacks read through the facade.

endpoint = read_endpoint(Path(".heddle/nats/endpoint.json"))
async with JetStreamBus(lambda: endpoint, keeps_stream=False) as bus, consume(bus, runtime) as events:
    async for item in events:
        match item:
            case Event(origin, event):
                print(origin.thread, event.sequence, event.WhichOneof("payload"))
"""

from collections.abc import Callable, Sequence

from heddle.runtime.v1.event_pb2 import ThreadEvent
from heddle.runtime.v1.thread_service_pb2 import ListEventsRequest
from heddle_bus import subjects
from heddle_bus.events import EventReader, FindPlace, LoggedEvent, ReadLog, start_with_what_comes
from heddle_bus.port import Bus, StreamPosition
from heddle_client.port import AgentRuntime
from heddle_core.runtime_errors import CursorTooOld, ThreadNotFound

_PAGE = 500

RuntimeFor = Callable[[str], AgentRuntime]
"""The runtime in the name of a tenant: for a credential that may act for several."""


def consume(
    bus: Bus,
    runtime: AgentRuntime | RuntimeFor,
    *,
    tenant: str | None = None,
    after: StreamPosition | None = None,
    find_place: FindPlace = start_with_what_comes,
) -> EventReader[ThreadEvent]:
    """All events of a tenant, or of all tenants, from a position of the stream on; None: all that it still holds.

    To go on after a restart, record `Event.place` for the thread and `Event.position` for all, in one transaction with
    what the event led to, and give them back as `find_place` and `after`.

    The runtime is asked for what the bus lacks. Where it serves several tenants, give a function that says in whose
    name: `lambda tenant: runtime.acting_as(tenant, "projector")`.
    """
    following = bus.follow((subjects.thread_events(tenant),), after=after)
    return EventReader(following, decode=ThreadEvent.FromString, read_log=log_reader(runtime), find_place=find_place)


def log_reader(runtime: AgentRuntime | RuntimeFor) -> ReadLog[ThreadEvent]:
    """Reads gaps with ListEvents. What retention has removed, or the thread's deletion, is left out."""

    async def read(tenant: str, thread: str, after: int, up_to: int) -> Sequence[LoggedEvent[ThreadEvent]]:
        log = runtime(tenant) if callable(runtime) else runtime
        found: list[LoggedEvent[ThreadEvent]] = []
        while after < up_to:
            size = min(_PAGE, up_to - after)
            try:
                page = await log.list_events(ListEventsRequest(thread_id=thread, after_sequence=after, page_size=size))
            except CursorTooOld as fault:
                after = fault.first - 1
                continue
            except ThreadNotFound:
                break
            found += [LoggedEvent(each.sequence, each) for each in page.events if each.sequence <= up_to]
            if not page.events:
                break
            after = page.events[-1].sequence
        return found

    return read
