"""Pages of lists on the wire: opaque tokens that say where a list goes on, and belong to that list alone."""

import base64
import hashlib
import json
from collections.abc import Iterable
from typing import Any, cast

from google.protobuf.message import Message

from heddle_core.errors import InvalidField, invalid
from heddle_grpc.fingerprints import fingerprint

Cursor = tuple[str | int, ...]
"""The ordering values of the item behind which a list goes on; empty: it begins."""

DEFAULT_SIZE = 50
"""Items of a page where the caller does not say (CONTRACT: every List)."""

ANSWER_BYTES = 2_621_440
"""Of one answer's items, 2.5 MiB: what is beside them fits below the limit of 3 MiB."""

_LONGEST_TOKEN = 4_096
_CHECK_BYTES = 12


def size_asked(request: Message) -> int:
    """How many items a List request wants."""
    asked: Any = request
    return asked.page_size or DEFAULT_SIZE


def cursor_asked(tenant: str, request: Message) -> Cursor:
    """Behind what a List request goes on. Raises InvalidField for a token of another list, or of none."""
    asked: Any = request
    return _read_token(asked.page_token, _query(tenant, request)) if asked.page_token else ()


def text_cursor_asked(tenant: str, request: Message) -> tuple[str, str] | None:
    """The same of a list that is ordered by a text and an id; None: it begins. Raises InvalidField."""
    match cursor_asked(tenant, request):
        case ():
            return None
        case (str(value), str(id)):
            return value, id
        case _:
            raise _foreign()


def time_cursor_asked(tenant: str, request: Message) -> tuple[int, str] | None:
    """The same of a list that is ordered by a time and an id; None: it begins. Raises InvalidField."""
    match cursor_asked(tenant, request):
        case ():
            return None
        case (int(value), str(id)):
            return value, id
        case _:
            raise _foreign()


def token_behind(tenant: str, request: Message, cursor: Cursor) -> str:
    """The token with which the list that `request` asks for goes on behind an item."""
    return _token(cursor, _query(tenant, request))


def order_asked(order_by: str, known: Iterable[str]) -> str:
    """The order that a List request names, or the first of those that are known.

    Raises:
        InvalidField: it names another.
    """
    orders = list(known)
    asked = " ".join(order_by.split()) or orders[0]
    if asked not in orders:
        raise invalid("order_by", f"one of {', '.join(f'`{order}`' for order in orders)}")
    return asked


def _query(tenant: str, request: Message) -> bytes:
    """What makes two requests ask for pages of the same list: all but where the page begins and how long it is."""
    query = cast("Any", type(request)())
    query.CopyFrom(request)
    query.ClearField("page_token")
    query.ClearField("page_size")
    named = f"{tenant} {request.DESCRIPTOR.full_name} ".encode()
    return hashlib.sha256(named + fingerprint(query)).digest()


def _token(cursor: Cursor, query: bytes) -> str:
    body = json.dumps(cursor, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(_check(body, query) + body).decode().rstrip("=")


def _read_token(token: str, query: bytes) -> Cursor:
    """The cursor in a token.

    The check is no secret: a cursor only says behind which values of the tenant's own list to go on, so forging one
    gains nothing. It keeps a token of one query from being taken for another's.
    """
    if len(token) > _LONGEST_TOKEN:
        raise _foreign()
    try:
        raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
        check, body = raw[:_CHECK_BYTES], raw[_CHECK_BYTES:]
        if check != _check(body, query):
            raise _foreign()
        cursor: Any = json.loads(body)
    except ValueError:
        raise _foreign() from None
    if not isinstance(cursor, list) or not cursor:
        raise _foreign()
    values = cast("list[Any]", cursor)
    if not all(isinstance(value, str | int) and not isinstance(value, bool) for value in values):
        raise _foreign()
    return tuple(values)


def _check(body: bytes, query: bytes) -> bytes:
    return hashlib.sha256(query + body).digest()[:_CHECK_BYTES]


def _foreign() -> InvalidField:
    return invalid("page_token", "send the token that this very list gave, with the same filters and order")
