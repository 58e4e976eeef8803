"""Keeps secrets out of the messages of model faults: providers like to quote the key they refuse."""

import re

from heddle_core.texts import clipped

LONGEST_MESSAGE = 500
"""Characters of a provider's words that are worth keeping: some answer with a page of HTML."""

_SECRETS = re.compile(
    r"""
      (?P<bearer>\bBearer\s+)\S+
    | (?P<named>\b(?:api[-_]?key|key|token|authorization|x-goog-api-key)["']?\s*[=:]\s*["']?)[^\s"'&,}]{6,}
    | \b(?:sk|pk|rk|xai|gsk|hf)[-_][A-Za-z0-9_-]{6,}[A-Za-z0-9*_-]*
    | \bAIza[A-Za-z0-9_-]{10,}
    | (?P<url>\b[a-z][a-z0-9+.-]*://)[^\s/@]+@
    """,
    re.VERBOSE | re.IGNORECASE,
)


def scrub(text: str, secrets: tuple[str, ...] = ()) -> str:
    """`text` on one line, cut, without the given secrets and without anything that looks like one."""
    for secret in secrets:
        if len(secret) >= 4:
            text = text.replace(secret, "[secret]")
    text = _SECRETS.sub(_mask, " ".join(text.split()))
    return clipped(text, LONGEST_MESSAGE)


def _mask(match: re.Match[str]) -> str:
    if (scheme := match["url"]) is not None:
        return f"{scheme}[secret]@"
    return f"{match['bearer'] or match['named'] or ''}[secret]"
