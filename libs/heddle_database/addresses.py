"""Addresses of databases, as they may be shown."""

import re


def without_password(address: str) -> str:
    """The same with stars for its password, wherever that stands."""
    return re.sub(r"(?<=password=)[^&]*", "***", re.sub(r"(//[^:@/]*:).*@", r"\1***@", address))
