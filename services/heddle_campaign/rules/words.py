"""The words of texts that say what they are about, and the kind of content that they name.

One list of words that say nothing, for all that compares texts by their words: English, as prompts and briefs are for
the most part. Words of other languages that say nothing are found by how common they are (`memories.rank`).
"""

import re
from collections.abc import Mapping
from itertools import chain

SHORTEST = 3
"""Characters of a word that may say something."""

_SAY_NOTHING = """
about above across after again against all almost along already also although always among and another any are
around because been before behind being below between both but can cannot could did does doing done down during each
either else even ever every few first for from further get gets give given goes going good got had has have having
her here hers him his how however into its itself just keep last least less let like made make makes making many may
maybe might more most much must near need needs neither never next nor not nothing now off often once one only onto
other others our ours out over own per perhaps please put rather really same say says see seem set shall she should
since some something soon still such sure take than that the their theirs them then there these they thing things
this those though through thus today together too toward two under until upon use used uses using very was way well
were what whatever when where whether which while who whoever whole whom whose why will with within without work
works would yet you your yours
"""
STOP_WORDS = frozenset(_SAY_NOTHING.split())

_WORD = re.compile(rf"[^\W_]{{{SHORTEST},}}")

_NAMES: Mapping[str, str] = {
    "video": "video videos film films filmer reel reels clip clips vlog vlogs animation animations",
    "image": "image images picture pictures photo photos photograph photographs illustration illustrations artist"
    " infographic infographics poster posters thumbnail thumbnails",
    "audio": "audio podcast podcasts music song songs voiceover voiceovers soundtrack soundtracks jingle jingles",
    "text": "text texts article articles essay essays blog blogs newsletter newsletters caption captions writer"
    " copywriter headline headlines",
}
_TYPES = {word: kind for kind, words in _NAMES.items() for word in words.split()}


def words_in(*texts: str) -> frozenset[str]:
    """The words of some texts, in lower case and without the shortest."""
    return frozenset(chain.from_iterable(_WORD.findall(text.casefold()) for text in texts))


def terms(*texts: str) -> frozenset[str]:
    """The words of some texts that say something."""
    return words_in(*texts) - STOP_WORDS


def content_type(*texts: str) -> str:
    """The kind of content that the first text names which names any: `video`, `image`, `audio` or `text`.

    Empty: none does, or that one names several.
    """
    for text in texts:
        named = {_TYPES[each] for each in re.findall(r"[^\W_]+", text.casefold()) if each in _TYPES}
        if named:
            return named.pop() if len(named) == 1 else ""
    return ""
