"""What messages are made of, and who does things. Values only."""

from heddle_core.ids import PrincipalId
from heddle_core.values import value


@value
class Text:
    """Plain text."""

    text: str


@value
class InlineData:
    """Bytes carried inside a message, with their IANA media type."""

    media_type: str
    data: bytes
    name: str = ""


@value
class AssetReference:
    """A reference to an asset that is stored elsewhere."""

    asset_id: str
    media_type: str = ""
    name: str = ""


@value
class Json:
    """A JSON value as text."""

    json: str


Part = Text | InlineData | AssetReference | Json
"""One piece of a message."""

Parts = tuple[Part, ...]


def plain_text(parts: Parts) -> str:
    """The words of `parts`, JSON included, joined by line ends; other parts are left out."""
    words: list[str] = []
    for part in parts:
        if isinstance(part, Text):
            words.append(part.text)
        elif isinstance(part, Json):
            words.append(part.json)
    return "\n".join(words)


@value
class Actor:
    """Somebody who did something. An empty principal is the runtime itself."""

    principal: PrincipalId = PrincipalId("")
    acted_by: str = ""


RUNTIME = Actor()
"""The runtime itself, as for an automatic title or an expired input."""
