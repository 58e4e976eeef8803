"""The one rule by which words that are being written are joined: by byte offset, and only what is certain.

Several connections may tell the same words, a later one from the start again. What is shown is always a
beginning of what was written: a piece that lies further on is held back until the hole before it is filled.
"""

from heddle_core.values import value

MOST_HELD_BYTES = 1 << 20
"""What is held back for one channel of one message, in bytes. Beyond it pieces are dropped: the fact that
ends the message tells its whole text in any case."""

_CONTINUATION = 0b1000_0000
_CONTINUATION_MASK = 0b1100_0000


@value
class Words:
    """The beginning, without holes, of one channel of one message, in bytes of UTF-8."""

    shown: bytes = b""
    """Whole code points from the first byte on."""
    held: tuple[tuple[int, bytes], ...] = ()
    """Pieces that came before the words between: (offset, bytes), by offset."""
    in_doubt: bool = False
    """Whether two tellings of the same bytes differ: nothing is added until a reset or the final text."""

    @property
    def text(self) -> str:
        """What may be shown now."""
        return self.shown.decode()

    def joined(self, offset: int, text: str, *, reset: bool = False) -> "Words":
        """These words and one delta: `text` begins at byte `offset`; `reset` drops what was told before."""
        begun = Words() if reset else self
        if begun.in_doubt or not text:
            return begun
        pieces = sorted([*begun.held, (offset, text.encode())], key=lambda piece: piece[0])
        shown = bytearray(begun.shown)
        held: list[tuple[int, bytes]] = []
        for start, piece in pieces:
            if start > len(shown):
                held.append((start, piece))
            elif not _agrees(shown, start, piece):
                return Words(bytes(shown), in_doubt=True)
            else:
                shown += piece[len(shown) - start :]
        return Words(bytes(shown), _within_bounds(held))


def _agrees(shown: bytearray, start: int, piece: bytes) -> bool:
    """Whether `piece` repeats what is shown and goes on at a code point."""
    overlap = min(len(shown) - start, len(piece))
    if not shown.startswith(piece[:overlap], start):
        return False
    return overlap == len(piece) or piece[overlap] & _CONTINUATION_MASK != _CONTINUATION


def _within_bounds(held: list[tuple[int, bytes]]) -> tuple[tuple[int, bytes], ...]:
    size = 0
    kept: list[tuple[int, bytes]] = []
    for piece in dict.fromkeys(held):
        size += len(piece[1])
        if size > MOST_HELD_BYTES:
            break
        kept.append(piece)
    return tuple(kept)
