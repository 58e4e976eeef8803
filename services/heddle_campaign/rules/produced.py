"""What a run has made, for a campaign's quota: counted from the assets of its answer and from what it says itself."""

import re
from collections.abc import Iterable

from heddle_campaign.rules.budget import Quota
from heddle_client.values import AssetReference, InlineData, Json, Part, Text

ASKED = "End your answer with one line that says what you made, as `Made: 1 posts, 2 images, 0 videos`."
"""What agents are told where a quota counts: posts cannot be seen in an answer."""

_LINE = re.compile(r"^\W*made:(?P<rest>.*)$", re.IGNORECASE | re.MULTILINE)
_COUNT = re.compile(r"(\d{1,6})\s+(post|image|video)s?\b", re.IGNORECASE)


def made_by(parts: Iterable[Part]) -> Quota:
    """What an answer has made: of each kind the larger of what it holds and what its last such line says."""
    given = tuple(parts)
    types = [each.media_type for each in given if isinstance(each, AssetReference | InlineData)]
    said = _said("\n".join(_text(each) for each in given))
    return Quota(
        said.get("post", 0),
        max(said.get("image", 0), sum(each.startswith("image/") for each in types)),
        max(said.get("video", 0), sum(each.startswith("video/") for each in types)),
    )


def together(made: Iterable[Quota]) -> Quota:
    """The sum of some."""
    every = tuple(made)
    return Quota(
        sum(each.posts for each in every), sum(each.images for each in every), sum(each.videos for each in every)
    )


def _said(text: str) -> dict[str, int]:
    lines = _LINE.findall(text)
    return {kind.lower(): int(count) for count, kind in _COUNT.findall(lines[-1])} if lines else {}


def _text(part: Part) -> str:
    match part:
        case Text():
            return part.text
        case Json():
            return part.json
        case _:
            return ""
