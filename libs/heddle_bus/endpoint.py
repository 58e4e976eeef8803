"""Where NATS is and how to get in: what the bundled server gives, and what settings give for a cluster."""

import json
import os
import ssl
from collections.abc import Callable
from dataclasses import field
from pathlib import Path
from typing import Any, cast

from heddle_core.errors import CannotServe, ServiceUnreachable
from heddle_core.values import value


@value
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


FindEndpoint = Callable[[], Endpoint]
"""Asked before each connection, since a bundled server's port changes when it is started again."""


def endpoint_finder(
    servers: str,
    token: str,
    file: Path | None,
    *,
    ca_setting: str,
    user: str = "",
    password: str = "",
    credentials: Path | None = None,
    ca_file: Path | None = None,
) -> FindEndpoint | None:
    """Where NATS is by a service's settings: in `file`, or `servers` with commas between; None: they name none.

    `ca_file` is who signed the certificates of the servers, `credentials` a `.creds` file. Raises CannotServe for a
    `ca_file` that cannot be used; `ca_setting` is the variable that named it.
    """
    if file is not None:
        return lambda: read_endpoint(file)
    named = tuple(each.strip() for each in servers.split(",") if each.strip())
    if not named:
        return None
    endpoint = Endpoint(
        servers=named,
        token=token,
        user=user,
        password=password,
        credentials=str(credentials) if credentials else None,
        tls=_trusting(ca_file, ca_setting) if ca_file else None,
    )
    return lambda: endpoint


def write_endpoint(path: Path, endpoint: Endpoint) -> None:
    """Leave word where a server listens and with which token, for processes of the same user."""
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:  # noqa: PTH123 - the mode
        json.dump({"servers": endpoint.servers, "token": endpoint.token}, file)
    fresh.replace(path)


def read_endpoint(path: Path) -> Endpoint:
    """What `write_endpoint` left; without servers if there is nothing yet. Raises ServiceUnreachable for rubbish."""
    try:
        told = cast(dict[str, Any], json.loads(path.read_text()))
        return Endpoint(servers=tuple(map(str, told["servers"])), token=str(told["token"]))
    except FileNotFoundError:
        return Endpoint(servers=())
    except (ValueError, KeyError, TypeError, OSError) as fault:
        raise ServiceUnreachable("nats-server", f"{path} does not say where it listens: {fault}") from fault


def _trusting(ca_file: Path, setting: str) -> ssl.SSLContext:
    remedy = "name a PEM file with who signed the servers' certificates, which this user may read"
    try:
        return ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError as error:
        raise CannotServe(setting, f"{ca_file} holds no certificate that can be read", remedy) from error
    except OSError as error:
        raise CannotServe(setting, f"{ca_file}: {error.strerror}", remedy) from error
