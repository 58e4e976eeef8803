"""Everything that comes in by itself, opened together: signals over NATS and HTTP, and deletions of threads."""

from collections.abc import AsyncGenerator, Mapping, Sequence
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
from heddle_core.background import Work, in_background
from heddle_core.clock import Clock


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
        work: dict[str, Work] = {}
        if find_nats is not None:
            queue = JetStreamQueue(
                find_nats, queue_settings(replicas=settings.signal_replicas), name="heddle-campaign-signals"
            )
            await stack.enter_async_context(queue)
            work["taking signals"] = lambda: take_signals(queue, report)
        if bus is not None:
            work["hearing of deleted threads"] = lambda: hear_deletions(bus, forgetting)
        await stack.enter_async_context(in_background(work))
        yield port
