"""The tools that a campaign gives its agents: what models read of them, and which arguments they take."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from heddle.tools.v1.tool_pb2 import Tool
from heddle_campaign.facade.messages import Letter, Wording
from heddle_campaign.rules.extraction import MOST_TAG, MOST_TAGS, MOST_TEXT
from heddle_campaign.rules.learned import PeerMessageKind
from heddle_campaign.rules.memories import MemoryKind
from heddle_client.values import AssetReference
from heddle_grpc.tool_calls import declared

REMEMBER = "remember"
SEND_MESSAGE = "send_message"

_Said = Annotated[str, Field(min_length=1, max_length=MOST_TEXT, pattern=r"\S")]
_Name = Annotated[str, Field(max_length=64)]
_TagText = Annotated[str, Field(min_length=1, max_length=MOST_TAG)]


class _Arguments(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class RememberArguments(_Arguments):
    """Of `remember`."""

    text: _Said
    kind: Literal["note", "decision"] = "note"
    platform: _Name = ""
    tags: Annotated[tuple[_TagText, ...], Field(max_length=MOST_TAGS)] = ()

    @property
    def wording(self) -> Wording:
        """As the facade takes it."""
        return Wording(MemoryKind[self.kind.upper()], self.text, self.platform, self.tags)


class AssetArguments(_Arguments):
    """An asset that a message is about."""

    asset_id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    media_type: Annotated[str, Field(max_length=128)] = ""
    name: Annotated[str, Field(max_length=256)] = ""


class SendMessageArguments(_Arguments):
    """Of `send_message`."""

    text: _Said
    kind: Literal["status", "request", "delivered", "notice"] = "notice"
    receiver_role: _Name = ""
    asset: AssetArguments | None = None

    @property
    def letter(self) -> Letter:
        """As the facade takes it."""
        asset = self.asset
        about = AssetReference(asset.asset_id, asset.media_type, asset.name) if asset is not None else None
        return Letter(PeerMessageKind[self.kind.upper()], self.text, self.receiver_role, about)


KINDS: Mapping[str, type[RememberArguments] | type[SendMessageArguments]] = {
    REMEMBER: RememberArguments,
    SEND_MESSAGE: SendMessageArguments,
}
"""The arguments of each tool."""

_TEXT: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": MOST_TEXT}

_REMEMBER: dict[str, Any] = {
    "type": "object",
    "properties": {
        "text": {**_TEXT, "description": "One fact or decision, understandable without this conversation."},
        "kind": {"enum": ["note", "decision"], "description": "Default note. A decision says what and why."},
        "platform": {"type": "string", "maxLength": 64, "description": "That it is about. Default: this turn's."},
        "tags": {
            "type": "array",
            "maxItems": MOST_TAGS,
            "items": {"type": "string", "minLength": 1, "maxLength": MOST_TAG},
            "description": "Words to find it by.",
        },
    },
    "required": ["text"],
    "additionalProperties": False,
}

_SEND_MESSAGE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "text": _TEXT,
        "kind": {
            "enum": ["status", "request", "delivered", "notice"],
            "description": "How your work stands; that you want an asset; that one is there; anything else (default).",
        },
        "receiver_role": {"type": "string", "maxLength": 64, "description": "Role of the receiver. Default: all."},
        "asset": {
            "type": "object",
            "properties": {
                "asset_id": {"type": "string", "minLength": 1, "maxLength": 64},
                "media_type": {"type": "string", "maxLength": 128},
                "name": {"type": "string", "maxLength": 256},
            },
            "required": ["asset_id"],
            "additionalProperties": False,
            "description": "The asset that it is about.",
        },
    },
    "required": ["text"],
    "additionalProperties": False,
}


def tools() -> list[Tool]:
    """The declarations, by name."""
    return [
        declared(
            REMEMBER,
            "Have this campaign remember something that will be useful in later turns: what you found out, or what you"
            " decided and why. Do not repeat what your answer says anyway.",
            _REMEMBER,
            "campaign",
        ),
        declared(
            SEND_MESSAGE,
            "Tell the other agents of this campaign something. They read it at the beginning of their next turn; there"
            " is no answer to wait for.",
            _SEND_MESSAGE,
            "campaign",
        ),
    ]
