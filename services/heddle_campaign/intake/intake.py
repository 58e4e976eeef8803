"""Everything that comes in by itself, opened together: signals over NATS and HTTP, and deletions of threads."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from heddle_bus.endpoint import FindEndpoint
from heddle_bus.port import Bus
from heddle_bus.queue import JetStreamQueue
from heddle_campaign.facade.forgetting import Forgetting
from heddle_campaign.intake.deletions import hear_deletions
from heddle_campaign.intake.reporting import Report
from heddle_campaign.intake.signatures import Signatures
from heddle_campaign.intake.subject import queue_settings, take_signals
from heddle_campaign.intake.webhooks import Webhooks
from heddle_core.clock import Clock
from heddle_core.log_lines import LogLines

_AGAIN_SECONDS = 1.0

_log = LogLines(__name__)


@dataclass(frozen=True, slots=True)
class IntakeSettings:
    """Which ways in are open."""

    webhooks: str | None = None
    """`host:port` for signed webhooks. None: none are taken."""
    webhook_secrets: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    """By tenant, as `whsec_...`."""
    signal_replicas: int = 1
    """Copies of the stream of signals in the NATS cluster."""


@asynccontextmanager
async def intake(
    settings: IntakeSettings,
    report: Report,
    forgetting: Forgetting,
    clock: Clock,
    find_nats: FindEndpoint | None,
    bus: Bus | None,
) -> AsyncGenerator[int]:
    """Take in what comes until the block is left; gives the port of the webhooks, 0 without them.

    Without NATS (`find_nats` and `bus` None), only webhooks come, and deletions are found by rounds.

    Raises:
        CannotServe: the address of the webhooks is taken, or a secret is not what it must be.
    """
    async with AsyncExitStack() as stack:
        port = 0
        if settings.webhooks is not None:
            webhooks = Webhooks(Signatures(settings.webhook_secrets), report, clock)
            port = await stack.enter_async_context(webhooks.serving(settings.webhooks))
        work: list[Callable[[], Awaitable[None]]] = []
        if find_nats is not None:
            queue = JetStreamQueue(
                find_nats, queue_settings(replicas=settings.signal_replicas), name="heddle-campaign-signals"
            )
            await stack.enter_async_context(queue)
            work.append(lambda: take_signals(queue, report))
        if bus is not None:
            work.append(lambda: hear_deletions(bus, forgetting))
        await stack.enter_async_context(_kept_up(work))
        yield port


@asynccontextmanager
async def _kept_up(work: Sequence[Callable[[], Awaitable[None]]]) -> AsyncGenerator[None]:
    tasks = [asyncio.create_task(_keep_up(each)) for each in work]
    try:
        yield
    finally:
        for each in tasks:
            each.cancel()
        if tasks:
            await asyncio.wait(tasks)


async def _keep_up(work: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await work()
        except Exception:  # a way in that has ended would never take anything again, nor say so
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                return  # what was cleaned up on the way out has failed, which is no reason to stay
            _log.exception("a way in is opened again after an unexpected fault")
        await asyncio.sleep(_AGAIN_SECONDS)
