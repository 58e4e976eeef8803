"""Where NATS is and how to get in: what the bundled server gives, and what settings give for a cluster."""

import ssl
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How to reach one NATS server or cluster."""

    servers: tuple[str, ...]
    """URLs as `nats://host:4222`, tried in random order."""
    token: str = field(default="", repr=False)
    """Shared secret; empty for none."""
    user: str = ""
    password: str = field(default="", repr=False)
    """Name and password; empty for none."""
    credentials: str | None = None
    """Path of a `.creds` file with a user JWT and its key."""
    tls: ssl.SSLContext | None = field(default=None, repr=False)
    """None for plain text, or for the defaults if the server demands TLS."""
