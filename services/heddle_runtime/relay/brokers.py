"""Whether the relays on one database stand on one NATS, and what is done where they do not.

A stream does not tell by itself whether its server has lost everything, or is another one than was meant. Whoever lives
tells: each relay says which stream it has in front of it, and while one of them has the noted stream, that is not lost.
So of two servers in use one is published to, by all relays that stand on it; those on the other stand aside, and take
over once nobody on the first is left.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import field
from datetime import timedelta

from heddle_bus.observed import Observed
from heddle_core.clock import Micros
from heddle_core.ids import WorkerId
from heddle_core.log_lines import LogLines
from heddle_core.values import value

_log = LogLines(__name__)

UNKNOWN = Micros(0)
"""In place of a stream's time of creation: of a relay that does not tell."""

_REMEDY = "give every runtime on this database the same NATS (--nats, HEDDLE_NATS): see docs/replicas.md"


@value
class Brokers:
    """How the relays that live stand to one of them."""

    elsewhere: Mapping[WorkerId, str] = field(default_factory=dict[WorkerId, str])
    """Those that have another stream than this one, each with the address of its runtime. No message reaches them."""
    aside: bool = False
    """Whether one of them publishes, so that this one must not."""


def is_other(stream: Micros, other: Micros) -> bool:
    """Whether two streams are known to be two, by the times when they were made."""
    return UNKNOWN not in (stream, other) and stream != other


def stands_aside(stream: Micros, noted: Micros, peers: Iterable[Micros]) -> bool:
    """Whether a relay must leave publishing to others: its stream is not the noted one, and one of its living peers, by
    the streams that these have, has that in front of it. If none has, the noted stream is lost.
    """
    return is_other(stream, noted) and noted in peers


async def warn(brokers: Observed[Brokers], after: timedelta) -> None:
    """Say so in the log, for ever, when relays stand on two servers, and when they do no more.

    Not before it has lasted: when a server was wiped, its relays find out one after the other.
    """
    while True:
        await brokers.until(lambda now: bool(now.elsewhere))
        try:
            async with asyncio.timeout(after.total_seconds()):
                await brokers.until(lambda now: not now.elsewhere)
        except TimeoutError:
            _log.warning(warning(brokers.value), remedy=_REMEDY)
            await brokers.until(lambda now: not now.elsewhere)
            _log.warning("all runtimes on this database are on one NATS again")


def warning(brokers: Brokers) -> str:
    """What is wrong, and what comes of it, for whoever runs this process."""
    others = ", ".join(f"{worker} at {address}" if address else worker for worker, address in brokers.elsewhere.items())
    told = f"another NATS than this one is used by {others} on the same database: "
    if brokers.aside:
        return told + "events are published there, and here to nobody until it is gone"
    return told + "events are published here, and there to nobody"
