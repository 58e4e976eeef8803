"""Pages on the wire: opaque tokens that belong to one query, and answers that fit into one message."""

import base64
import hashlib
import json
from collections.abc import Callable, Iterable
from typing import Any, Generic, TypeVar, cast

from google.protobuf.message import Message

from heddle_core.errors import InvalidField, invalid
from heddle_core.ids import TenantId
from heddle_core.values import value
from heddle_runtime.codec.cuts import cut
from heddle_runtime.facade.page_commands import Cursor, Listing, Page
from heddle_runtime.rpc.requests import fingerprint

T = TypeVar("T")
M = TypeVar("M", bound=Message)

DEFAULT_SIZE = 50
"""Items of a page where the caller does not say (CONTRACT: every List)."""

ANSWER_BYTES = 2_621_440
"""Of one answer's items, 2.5 MiB: what is beside them fits below the limit of 3 MiB."""

_LONGEST_TOKEN = 4_096
_CHECK_BYTES = 12


@value
class PageOf(Generic[M]):
    """What an answer of a List holds."""

    messages: list[M]
    next_page_token: str


def page_asked(tenant: TenantId, request: Message) -> Page:
    """The page that a List request asks for. Raises InvalidField for a token of another query, or of none."""
    asked: Any = request
    after = _read_token(asked.page_token, _query(tenant, request)) if asked.page_token else ()
    return Page(asked.page_size or DEFAULT_SIZE, after)


def page_given(
    tenant: TenantId,
    request: Message,
    listing: Listing[T],
    message_of: Callable[[T], M],
    reference_of: Callable[[T], str],
) -> PageOf[M]:
    """The answer to a List request, with as many items as fit into one message.

    `reference_of` says where the whole of an item stands, for one that has to be cut.
    """
    messages: list[M] = []
    size = 0
    for item in listing.items:
        message = message_of(item)
        cut(message, ANSWER_BYTES, reference_of(item))
        size += message.ByteSize()
        if messages and size > ANSWER_BYTES:
            behind = listing.cursors[len(messages) - 1]
            return PageOf(messages, _token(behind, _query(tenant, request)))
        messages.append(message)
    return PageOf(messages, _token(listing.more, _query(tenant, request)) if listing.more else "")


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


def _query(tenant: TenantId, request: Message) -> bytes:
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
