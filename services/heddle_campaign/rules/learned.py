"""What a campaign knows: a memory with where it was learned, and what its agents told each other. Values only."""

from dataclasses import dataclass
from enum import IntEnum

from heddle_campaign.rules.memories import Memory
from heddle_client.values import AssetReference
from heddle_core.clock import Micros
from heddle_core.ids import TenantId


@dataclass(frozen=True, slots=True)
class Citation:
    """A stretch of a thread's log, so that anybody can look."""

    thread_id: str
    first_sequence: int
    last_sequence: int
    run_id: str


@dataclass(frozen=True, slots=True)
class Learned:
    """A memory, as stored."""

    tenant: TenantId
    campaign_id: str
    memory: Memory
    citation: Citation | None = None
    """None: a person noted it, or it was reckoned from metrics."""
    performance_json: str = ""
    """Measures behind it, as a JSON object. Empty: none."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """A thread from which messages were sent."""

    tenant: TenantId
    thread_id: str
    campaign_id: str
    """One of those to which they belong."""


class PeerMessageKind(IntEnum):
    """What a message between a campaign's agents is about; the numbers are the contract's."""

    STATUS = 1
    REQUEST = 2
    DELIVERED = 3
    NOTICE = 4


@dataclass(frozen=True, slots=True)
class PeerMessage:
    """A message between a campaign's agents."""

    tenant: TenantId
    campaign_id: str
    message_id: str
    """Made of what caused it, so that it is told once."""
    kind: PeerMessageKind
    sender_role: str
    text: str
    send_time: Micros
    receiver_role: str = ""
    """Empty: all."""
    asset: AssetReference | None = None
    thread_id: str = ""
    """Of the run that sent it, with which it goes."""
