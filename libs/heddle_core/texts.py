"""Texts from elsewhere, made fit to be kept and shown."""


def clipped(text: str, most: int) -> str:
    """`text`, or its beginning with an ellipsis where it has more than `most` characters."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def storable(text: str) -> str:
    """`text` without NUL and lone surrogates, which JSON can spell, but no text column and no UTF-8 takes."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()
