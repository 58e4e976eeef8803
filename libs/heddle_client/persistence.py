"""How a stream is opened again: how patiently, and by which clock and chance.

The one place where a client is given those of the system; `heddle_client.resume` has none of its own.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta

from heddle_core.clock import Clock, SystemClock
from heddle_core.values import value


@value
class Persistence:
    """How a stream is opened again: full jitter on a doubling bound, as long as it makes sense."""

    clock: Clock
    random: Callable[[], float]
    """Even between 0 and 1."""
    sleep: Callable[[float], Awaitable[None]]
    """Seconds."""
    first_delay: timedelta = timedelta(milliseconds=100)
    """Upper bound of the first pause; it doubles with each failure. A server's RetryInfo is a lower bound."""
    most_delay: timedelta = timedelta(seconds=5)
    give_up_after: timedelta = timedelta(minutes=2)
    """How long nothing may come before the reader is told."""
    steady_after: timedelta = timedelta(seconds=10)
    """A connection that lived so long was a good one, even if it brought nothing."""


USUAL = Persistence(SystemClock(), random.SystemRandom().random, asyncio.sleep)
"""What a reader gets who names no other."""
