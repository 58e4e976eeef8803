"""How far apart a reader's frames of words stand: further where this process is behind with its work.

A frame costs about the same with one piece in it as with ten. When there is more to send than the process can, frames
that come seldom and carry more get everybody's words there sooner than many that queue up.
"""

SHORTEST = 0.025
"""Seconds between two frames of words alone: nobody reads faster."""

LONGEST = 0.1
"""Seconds, however late the process is: words are to be seen as they come."""

_TIMES_LATE = 3
"""A process that is 10 ms late with its timers has frames 55 ms apart."""

_WEIGHT = 1 / 32
"""Of one timer: a process with few readers has some forty in a second, one with many has thousands."""


class Pace:
    """The pace of all readers of this process, by how late their timers strike."""

    def __init__(self) -> None:
        self._late = 0.0
        self.window = SHORTEST
        """Seconds between two frames of words alone, as things are."""

    def struck(self, late: float) -> None:
        """A timer struck so many seconds after it was due."""
        self._late += (late - self._late) * _WEIGHT
        self.window = min(SHORTEST + _TIMES_LATE * self._late, LONGEST)
