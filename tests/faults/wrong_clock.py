"""A clock of the day that the suite sets, in the place of the runtime's, which has no setting: the zygote does it.

Only the time of day is wrong. Deadlines and leases are measured by the monotonic clock, which no operator can set.
"""

from pathlib import Path

VARIABLE = "HEDDLE_FAULTS_CLOCK"
"""Names the file that says by how many seconds the clock is wrong. The runtime itself knows nothing of it."""


def be_wrong(file: Path) -> None:
    """Have every system clock of this process go wrong as the file says at each moment."""
    from heddle_core.clock import Micros, SystemClock

    true_time = SystemClock.now

    def now(self: SystemClock) -> Micros:
        return Micros(true_time(self) + round(float(file.read_text()) * 1_000_000))

    SystemClock.now = now


def set_clock(file: Path, seconds: float) -> None:
    """Have the clocks that read the file be wrong by so much from now on."""
    fresh = file.with_suffix(".new")
    fresh.write_text(str(seconds))
    fresh.replace(file)  # so that nobody reads half of it
