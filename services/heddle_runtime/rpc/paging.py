"""Pages on the wire: what a List request asks for, and answers that fit into one message."""

from collections.abc import Callable
from typing import Generic, TypeVar

from google.protobuf.message import Message

from heddle_core.ids import TenantId
from heddle_core.values import value
from heddle_grpc.paging import ANSWER_BYTES, cursor_asked, size_asked, token_behind
from heddle_runtime.codec.cuts import cut
from heddle_runtime.facade.page_commands import Listing, Page

T = TypeVar("T")
M = TypeVar("M", bound=Message)


@value
class PageOf(Generic[M]):
    """What an answer of a List holds."""

    messages: list[M]
    next_page_token: str


def page_asked(tenant: TenantId, request: Message) -> Page:
    """The page that a List request asks for. Raises InvalidField for a token of another query, or of none."""
    return Page(size_asked(request), cursor_asked(tenant, request))


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
            return PageOf(messages, token_behind(tenant, request, behind))
        messages.append(message)
    return PageOf(messages, token_behind(tenant, request, listing.more) if listing.more else "")
