"""Sets a replica's time of day wrong: Python imports this module at its start where this folder is on PYTHONPATH.

Only the time of day: deadlines are measured by the monotonic clock, which no operator can set.
"""

import os
import time

_ahead = float(os.environ.get("CLOCK_AHEAD_SECONDS", "0"))
_true_seconds, _true_nanoseconds = time.time, time.time_ns


def _seconds() -> float:
    return _true_seconds() + _ahead


def _nanoseconds() -> int:
    return _true_nanoseconds() + round(_ahead * 1_000_000_000)


time.time, time.time_ns = _seconds, _nanoseconds
