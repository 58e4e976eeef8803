"""Page tokens: where a list goes on, bound to the list that gave them."""

import base64
import hashlib
import json
from typing import Any, cast

from google.protobuf.message import Message

from heddle_core.errors import InvalidField, invalid
from heddle_spawn.codec import fingerprint
from heddle_spawn.rpc.requests import request_without

DEFAULT_SIZE = 50
"""Items of a page where the caller does not say (CONTRACT: every List)."""

_CHECK_BYTES = 12
_LONGEST = 512


def token_after(tenant: str, request: Message, cursor: tuple[int, str]) -> str:
    """The token of the page behind an item's time and id."""
    body = json.dumps(cursor, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_check(tenant, request, body) + body).decode().rstrip("=")


def cursor_of(tenant: str, request: Message, token: str) -> tuple[int, str] | None:
    """Behind what a token goes on; None without one. Raises InvalidField for a token of another list.

    The check is no secret: a cursor only says behind which of the tenant's own items to go on.
    """
    if not token:
        return None
    if len(token) > _LONGEST:
        raise _foreign()
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        check, body = raw[:_CHECK_BYTES], raw[_CHECK_BYTES:]
        value: Any = json.loads(body) if check == _check(tenant, request, body) else None
    except ValueError:
        raise _foreign() from None
    if not isinstance(value, list) or len(cast("list[Any]", value)) != 2:
        raise _foreign()
    time, spawn_id = cast("list[Any]", value)
    if not isinstance(time, int) or not isinstance(spawn_id, str):
        raise _foreign()
    return time, spawn_id


def _check(tenant: str, request: Message, body: bytes) -> bytes:
    query = fingerprint(request_without(request, ("page_token", "page_size")))
    return hashlib.sha256(tenant.encode() + query + body).digest()[:_CHECK_BYTES]


def _foreign() -> InvalidField:
    return invalid("page_token", "send the token that this very list gave, with the same filters and order")
