"""The title that a thread gets from its first turn, until somebody gives it a better one. Pure."""

from heddle_runtime.runs.content import Parts, plain_text

TITLE_LENGTH = 60


def automatic_title(content: Parts) -> str:
    """The first words of `content`, at most 60 characters, cut at a word's end."""
    words = " ".join(plain_text(content).split())
    if len(words) <= TITLE_LENGTH:
        return words
    cut = words[: TITLE_LENGTH - 1]
    return (cut.rsplit(" ", 1)[0] if " " in cut else cut).rstrip(",;:.-") + "…"
