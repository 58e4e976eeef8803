"""Jitter: how much later than its scheduled time a cycle begins. Reckoned from its key, so that replicas agree."""

from hashlib import sha256

from heddle_campaign.rules.cycle_keys import CycleKey, CycleOrigin, cycle_id
from heddle_campaign.rules.schedule import Schedule
from heddle_campaign.rules.times import first_from
from heddle_core.clock import Micros, micros


def due_time(schedule: Schedule, at: Micros) -> Micros:
    """When the scheduled time `at` is due: never before it, and before the next one, so that order is kept.

    The delay is spread evenly over the schedule's jitter, or over the distance to the next time where that is shorter.
    """
    width = micros(schedule.jitter)
    if width <= 0:
        return at
    following = first_from(schedule, Micros(at + 1))
    if following is not None:
        width = min(width, following - at)
    return Micros(at + width * _share(slot_key(schedule, at)) // 2**64)


def slot_key(schedule: Schedule, at: Micros, origin: CycleOrigin = CycleOrigin.SCHEDULE) -> CycleKey:
    """The key of the cycle for a scheduled time."""
    return CycleKey(schedule.tenant, schedule.campaign_id, schedule.version, at, origin)


def _share(key: CycleKey) -> int:
    """A number below 2**64 that is as good as random, and always the same for a key."""
    return int.from_bytes(sha256(cycle_id(key).encode()).digest()[:8], "big")
