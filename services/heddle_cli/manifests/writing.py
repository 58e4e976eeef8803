"""A campaign as the text of a file that `heddle apply` takes: the way back from a message of the contract."""

from typing import Any

import yaml
from google.api import field_behavior_pb2  # pyright: ignore[reportMissingTypeStubs]
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from google.type.money_pb2 import Money

from heddle.campaign.v1alpha1.campaign_pb2 import Campaign
from heddle_cli.manifests.folder import MANAGED_BY, NAME
from heddle_cli.manifests.messages import enum_word
from heddle_cli.manifests.values import money_text, span_text

_WIDTH = 116


def file_text(name: str, campaign: Campaign) -> str:
    """The file of a campaign called `name`, DRAFT; without what only a server sets."""
    own = Campaign()
    own.CopyFrom(campaign)
    for label in (MANAGED_BY, NAME):
        own.labels.pop(label, None)
    content = {"campaign": name, "state": "draft", **_fields(own)}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=_WIDTH)


def _fields(message: Message) -> dict[str, Any]:
    return {field.name: _said(field, held) for field, held in message.ListFields() if not _is_told_only(field)}


def _is_told_only(field: Any) -> bool:
    """Whether a client never sets it."""
    return field_behavior_pb2.OUTPUT_ONLY in field.GetOptions().Extensions[field_behavior_pb2.field_behavior]


def _said(field: Any, held: Any) -> Any:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return dict(held)
    return [_one(field, each) for each in held] if field.is_repeated else _one(field, held)


def _one(field: Any, held: Any) -> Any:
    match held:
        case Duration():
            return span_text(held.ToTimedelta())
        case Timestamp():
            return held.ToJsonString()
        case Money():
            return money_text(held)
        case Message():
            return _fields(held)
        case _:
            return enum_word(field.enum_type, held) if field.enum_type is not None else held
