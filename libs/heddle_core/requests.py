"""Who sends a request to a service beside the runtime, and what makes two requests the same."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Creator:
    """In whose name a service starts turns."""

    tenant: str
    principal: str
    acted_by: str = ""
    """Who acted for the principal; empty: nobody."""


@dataclass(frozen=True, slots=True)
class RequestKey:
    """What makes two requests the same (SEMANTICS 3)."""

    tenant: str
    principal: str
    method: str
    request_id: str
    fingerprint: bytes
