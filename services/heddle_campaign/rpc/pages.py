"""Lists on the wire: what page is asked for, and answers that fit into one message."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from heddle.campaign.v1alpha1 import campaign_service_pb2 as pb
from heddle_campaign.codec.campaigns import campaign_message
from heddle_campaign.codec.cycles import cycle_message
from heddle_campaign.codec.memories import peer_message
from heddle_campaign.facade.reading import Frame, Shown
from heddle_campaign.rules.learned import Learned
from heddle_core.errors import invalid
from heddle_grpc.paging import ANSWER_BYTES, Cursor, order_asked, size_asked, text_cursor_asked, token_behind

T = TypeVar("T")
M = TypeVar("M", bound=Message)

CAMPAIGN_ORDERS = ("create_time", "title", "next_cycle_time")
MEMORY_ORDERS = ("create_time", "importance", "last_use_time")


@dataclass(frozen=True, slots=True)
class Order:
    """How a list is ordered, and where its page begins."""

    field: str
    descending: bool
    after: tuple[str, str] | None


@dataclass(frozen=True, slots=True)
class PageOf(Generic[M]):
    """What an answer of a List holds."""

    messages: list[M]
    next_page_token: str


def order_of(tenant: str, request: Message, order_by: str, fields: Sequence[str]) -> Order:
    """The order of a list whose first field is also that of the default, newest first. Raises InvalidField."""
    asked = order_asked(order_by, [f"{fields[0]} desc", *fields, *(f"{each} desc" for each in fields[1:])])
    field, _, direction = asked.partition(" ")
    after = text_cursor_asked(tenant, request)
    if after is not None and not _readable(field, *after):
        raise invalid("page_token", "send the token that this very list gave")
    return Order(field, direction == "desc", after)


def page_given(
    tenant: str, request: Message, found: Sequence[T], message_of: Callable[[T], M], place_of: Callable[[T], Cursor]
) -> PageOf[M]:
    """The answer to a List request out of what was found, which is one more than asked for where more follows."""
    size, weight = size_asked(request), 0
    messages: list[M] = []
    for item in found[:size]:
        message = message_of(item)
        weight += message.ByteSize()
        if messages and weight > ANSWER_BYTES:
            break
        messages.append(message)
    more = len(found) > len(messages)
    return PageOf(messages, token_behind(tenant, request, place_of(found[len(messages) - 1])) if more else "")


def campaign_place(shown: Shown, field: str) -> Cursor:
    """Where a campaign stands in a list."""
    campaign = shown.campaign
    match field:
        case "title":
            value = campaign.settings.title
        case "next_cycle_time":
            value = str(campaign.next_due) if campaign.next_due is not None else ""
        case _:
            value = str(campaign.create_time)
    return value, campaign.campaign_id


def memory_place(learned: Learned, field: str) -> Cursor:
    """Where a memory stands in a list."""
    memory = learned.memory
    match field:
        case "importance":
            value = repr(memory.importance)
        case "last_use_time":
            value = str(memory.last_used) if memory.last_used is not None else ""
        case _:
            value = str(memory.learned)
    return value, memory.memory_id


def frame_message(frame: Frame) -> pb.WatchCampaignResponse:
    """A frame of WatchCampaign, with as many cycles and messages as fit: the oldest open and the newest ended ones."""
    message = pb.WatchCampaignResponse(campaign=campaign_message(frame.shown.campaign, frame.shown.counters))
    left = ANSWER_BYTES - message.ByteSize()
    for field, items in (
        (message.open_cycles, map(cycle_message, frame.open_cycles)),
        (message.recent_cycles, map(cycle_message, frame.recent_cycles)),
        (message.peer_messages, map(peer_message, frame.messages)),
    ):
        for item in items:
            left -= item.ByteSize()
            if left < 0:
                return message
            field.append(item)  # pyright: ignore[reportArgumentType] -- each list has its own kind
    return message


def _readable(field: str, value: str, item_id: str) -> bool:
    """Whether a cursor can be one of ours: whoever forges a token gets a refusal, not a fault."""
    if "\0" in value or "\0" in item_id:
        return False
    match field:
        case "title":
            return True
        case "importance":
            return _is_share(value)
        case _:
            return not value or (value.isascii() and value.isdigit() and len(value) <= 18)


def _is_share(text: str) -> bool:
    try:
        return 0 <= float(text) <= 1
    except ValueError:
        return False
