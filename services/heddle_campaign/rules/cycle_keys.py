"""What names a cycle and its turns, so that nobody starts one twice (SEMANTICS 37 and 38)."""

from dataclasses import dataclass
from enum import IntEnum
from uuid import UUID, uuid5

from heddle_core.clock import Micros
from heddle_core.ids import RequestId, TenantId

NAMESPACE = UUID("6e0f4c1e-6f0f-5a53-9d2b-6f3c3c0f8a11")
"""Fixed for ever: another one would name every cycle and turn anew."""


class CycleOrigin(IntEnum):
    """What made a cycle; the numbers are the contract's."""

    SCHEDULE = 1
    BACKFILL = 2
    MANUAL = 3
    SIGNAL = 4


@dataclass(frozen=True, slots=True)
class CycleKey:
    """There is one cycle a key, on any number of replicas."""

    tenant: TenantId
    campaign_id: str
    schedule_version: int
    scheduled_time: Micros
    """In UTC, before jitter."""
    origin: CycleOrigin


def cycle_id(key: CycleKey) -> str:
    """The cycle's id: the same wherever it is made, so that a second insert meets the first."""
    parts = (key.tenant, key.campaign_id, str(key.schedule_version), str(key.scheduled_time), key.origin.name)
    return f"cycle_{uuid5(NAMESPACE, _joined(parts)).hex}"


def turn_request_id(cycle: str, role: str, attempt: int) -> RequestId:
    """The request id of a turn's StartTurn. An unknown outcome is asked again under the same attempt."""
    return RequestId(str(uuid5(NAMESPACE, _joined((cycle, role, str(attempt))))))


def turn_thread_id(cycle: str, role: str, attempt: int) -> str:
    """The id of the thread that an attempt of a turn gets: whoever makes it again finds it."""
    # A role has no slash, so no turn's own request is called so.
    return f"thr_{uuid5(NAMESPACE, _joined((cycle, f'{role}/thread', str(attempt)))).hex}"


def _joined(parts: tuple[str, ...]) -> str:
    # With their lengths, so that no two lists of parts read the same.
    return "".join(f"{len(part)}:{part}" for part in parts)
