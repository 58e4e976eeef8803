"""Signals that come over NATS on `heddle.v1.TENANT.signals.KIND`: taken from a durable queue, settled once on record.

Who may publish there may signal for that tenant: NATS's own permissions say who that is. A message that nothing can be
made of is put aside: it is told in the log, is not delivered again, and can be read in the stream until its age limit.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from heddle_bus import subjects
from heddle_bus.queue import Delivery, Queue, QueueSettings
from heddle_campaign.facade.signals import SignalMatch
from heddle_campaign.intake.reporting import Report, received
from heddle_campaign.rules.cycles import Signal
from heddle_campaign.rules.triggers import SignalOutcome
from heddle_client.transience import is_passing
from heddle_core.errors import DeadlinePassed
from heddle_core.faults import HeddleError
from heddle_core.ids import TenantId
from heddle_core.log_lines import LogLines

MOST_ATTEMPTS = 5
"""Of a message on which this service itself failed; after these it is put aside."""

MOST_OFFERS = 12
"""Of a message that a campaign had no room for: over 5 minutes, in which the cycle that waits may begin."""

_REPORTED_WITHIN = timedelta(seconds=30)
_LONGEST_PAUSE = timedelta(minutes=1)

_log = LogLines(__name__)


def queue_settings(*, replicas: int = 1) -> QueueSettings:
    """The queue of signals, which all replicas of the campaign service share."""
    return QueueSettings(
        stream=subjects.SIGNAL_STREAM,
        subjects=subjects.SIGNAL_STREAM_SUBJECTS,
        consumer="campaign",
        replicas=replicas,
    )


async def take_signals(queue: Queue, report: Report) -> None:
    """Report what comes, for ever."""
    async for delivery in queue:
        await take(queue, delivery, report)


async def take(queue: Queue, delivery: Delivery, report: Report) -> None:
    """Report one signal and settle it: done, given back while the store is in trouble or no room, or put aside."""
    place = {"subject": delivery.message.subject, "sequence": delivery.message.position.sequence}
    try:
        tenant, signal = _signal(delivery)
        matches = await _reported(report, tenant, signal)
    except HeddleError as error:
        if is_passing(error):
            _log.warning("a signal waits", **place, reason=error.reason, problem=str(error))
            await queue.give_back(delivery, _pause(delivery))
        else:
            _log.warning("a signal was put aside", **place, reason=error.reason, problem=str(error))
            await queue.put_aside(delivery, f"{error.reason}: {error}")
    except Exception:  # one message that breaks this service must not stop all others
        _log.exception("a signal could not be reported", **place, attempt=delivery.attempt)
        if delivery.attempt < MOST_ATTEMPTS:
            await queue.give_back(delivery, _pause(delivery))
        else:
            await queue.put_aside(delivery, "the campaign service failed on it, see its log")
    else:
        if any(each.outcome is SignalOutcome.NO_ROOM for each in matches):
            await _offered_again(queue, delivery, place)
        else:
            await queue.done(delivery)


async def _offered_again(queue: Queue, delivery: Delivery, place: dict[str, Any]) -> None:
    """Have a signal come again that found no room; whoever has answered it knows its dedupe key."""
    if delivery.attempt < MOST_OFFERS:
        _log.info("a signal waits", **place, reason="NO_ROOM")
        await queue.give_back(delivery, _pause(delivery))
    else:
        _log.warning("a signal was put aside", **place, reason="NO_ROOM")
        await queue.put_aside(delivery, "no room: a campaign that it concerns has had a cycle waiting all the time")


def _signal(delivery: Delivery) -> tuple[TenantId, Signal]:
    """Whose signal it is, and which. Raises InvalidField."""
    message = delivery.message
    tenant, kind = subjects.parts_of_signal(message.subject)
    # Without any name of its own, each message tells of something else; delivered again, it has the same place.
    place = f"nats-{message.position.created}-{message.position.sequence}"
    key = message.headers.get(subjects.DEDUPE_KEY) or message.headers.get(subjects.MESSAGE_ID) or place
    return TenantId(tenant), received(kind, message.payload, dedupe_key=key, at=delivery.stored, source="NATS")


async def _reported(report: Report, tenant: TenantId, signal: Signal) -> Sequence[SignalMatch]:
    try:
        async with asyncio.timeout(_REPORTED_WITHIN.total_seconds()):
            return await report(tenant, signal)
    except TimeoutError:
        raise DeadlinePassed("the report of a signal") from None


def _pause(delivery: Delivery) -> timedelta:
    return min(timedelta(seconds=2 ** min(delivery.attempt - 1, 16)), _LONGEST_PAUSE)
