"""How often Python looks for reference cycles: rarely.

By default it looks after every 700 new objects. A start makes half a million that stay, and looked at them again and
again: a tenth of its time.
"""

import gc

NEW_OBJECTS, YOUNG_ROUNDS, OLD_ROUNDS = 10_000, 20, 20
"""So many new objects until the youngest are looked at; so many such rounds until the older ones are, twice over."""


def look_rarely() -> None:
    """From now on, in this process. For the very beginning of one."""
    gc.set_threshold(NEW_OBJECTS, YOUNG_ROUNDS, OLD_ROUNDS)


def leave_out_what_is_here() -> None:
    """Never look at what there is now: modules, classes and whatever else lives as long as the process."""
    gc.freeze()
