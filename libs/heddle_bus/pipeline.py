"""Publishing for many threads at once, each in its own order: what makes a relay fast and still right."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from heddle_bus.port import ACKNOWLEDGEMENT_DEADLINE, NO_HEADERS, Acknowledgement, Bus
from heddle_core.errors import ServiceUnreachable
from heddle_core.faults import HeddleError


@dataclass(eq=False)
class _Lane:
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    callers: int = 0
    faults: int = 0
    fault: HeddleError | None = None


class Pipeline:
    """One unacknowledged publish per key, many keys side by side (SEMANTICS 30)."""

    def __init__(self, bus: Bus, *, most_in_flight: int = 256) -> None:
        self._bus = bus
        self._slots = asyncio.Semaphore(most_in_flight)
        self._lanes: dict[str, _Lane] = {}

    async def publish(
        self,
        key: str,
        subject: str,
        payload: bytes,
        *,
        message_id: str,
        headers: Mapping[str, str] = NO_HEADERS,
        deadline: timedelta = ACKNOWLEDGEMENT_DEADLINE,
    ) -> Acknowledgement:
        """Publish after every earlier call with this key was acknowledged; the deadline starts at its turn.

        When one fails, those that wait behind it in its key fail as well, and are not sent: publish them
        again from the first that failed. Raises as `Bus.publish` does.
        """
        lane = self._lanes.setdefault(key, _Lane())
        faults_before = lane.faults
        lane.callers += 1
        try:
            async with lane.turn:
                if lane.fault is not None and lane.faults != faults_before:
                    raise lane.fault
                return await self._publish_in_turn(
                    lane, subject, payload, message_id=message_id, headers=headers, deadline=deadline
                )
        finally:
            lane.callers -= 1
            if lane.callers == 0:
                self._lanes.pop(key, None)

    async def _publish_in_turn(
        self,
        lane: _Lane,
        subject: str,
        payload: bytes,
        *,
        message_id: str,
        headers: Mapping[str, str],
        deadline: timedelta,
    ) -> Acknowledgement:
        try:
            async with self._slots:
                return await self._bus.publish(
                    subject, payload, message_id=message_id, headers=headers, deadline=deadline
                )
        except HeddleError as fault:
            lane.faults += 1
            lane.fault = fault
            raise
        except BaseException:
            lane.faults += 1
            lane.fault = ServiceUnreachable("the event stream", f"publishing {message_id} was given up")
            raise
