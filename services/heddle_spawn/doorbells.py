"""NATS as a doorbell: it says that a run moved, and the row of the child is looked at. It carries no truth.

What is published while nobody listens, or is wiped, is found by the sweep (SEMANTICS 32).
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from heddle_bus import subjects
from heddle_bus.endpoint import Endpoint, read_endpoint
from heddle_bus.events import DELETED
from heddle_bus.jetstream import JetStreamBus
from heddle_bus.port import Bus, Gap
from heddle_core.faults import HeddleError
from heddle_core.log_lines import LogLines
from heddle_spawn.facade.rounds import Rounds
from heddle_spawn.settings import SpawnSettings

FindEndpoint = Callable[[], Endpoint]
"""Asked before each connection, since a bundled server's port changes when it is started again."""

RINGING = ("RunWaiting", "RunResumed", "RunCompleted", "RunFailed", "RunCancelled")
"""Events of a child's thread that change what its parent should know."""

_log = LogLines(__name__)


def endpoint_of(settings: SpawnSettings) -> FindEndpoint | None:
    """Where NATS is by the settings; None: they name none."""
    file = settings.nats_endpoint
    if file is not None:
        return lambda: read_endpoint(file)
    servers = tuple(each.strip() for each in settings.nats.split(",") if each.strip())
    if not servers:
        return None
    token = settings.nats_token.get_secret_value() if settings.nats_token else ""
    return lambda: Endpoint(servers=servers, token=token)


@asynccontextmanager
async def ringing(find: FindEndpoint, rounds: Rounds) -> AsyncGenerator[None]:
    """Ring for children while the block lasts, whenever NATS is there."""
    async with JetStreamBus(find, name="heddle-spawn", keeps_stream=False) as bus:
        listening = [asyncio.create_task(listen(bus, event, rounds)) for event in (*RINGING, DELETED)]
        try:
            yield
        finally:
            for each in listening:
                each.cancel()
            await asyncio.wait(listening)


async def listen(bus: Bus, event: str, rounds: Rounds) -> None:
    """Ring for every thread that has such an event; after a gap, for all that is due."""
    async with await bus.subscribe(subjects.thread_events(event=event)) as heard:
        async for each in heard:
            if isinstance(each, Gap):
                rounds.sweep_now()
                continue
            _, _, tenant, _, thread_id, _ = each.subject.split(".")
            try:
                if event == DELETED:
                    await rounds.forget_thread(tenant, thread_id)
                else:
                    await rounds.ring_thread(tenant, thread_id)
            except HeddleError as error:
                _log.warning("a doorbell was not answered", reason=error.reason, problem=str(error))
