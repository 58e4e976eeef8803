"""What is to happen in one sitting, decided by a seed alone: campaigns, their schedules, and who is paused when."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

SECOND = 1_000_000
MINUTE = 60 * SECOND
"""Times are microseconds, those of a plan from its beginning on."""

OVERLAPS = ("SKIP", "BUFFER_ONE", "BUFFER_ALL", "CANCEL_OTHER", "ALLOW_ALL")
SLOW, STUMBLING, INSTANT = "slowly", "stumbling", "at once"
"""How the model answers a campaign's turns: over more than a minute; failing three times first; or immediately."""

_TWO_ROLES = ("writer", "editor")


@dataclass(frozen=True)
class Options:
    """What was asked for."""

    campaigns: int = 1_000
    minutes: float = 10.0
    every: int = 1
    """Minutes between two times of a campaign; a part of an hour."""
    seed: int = 0
    kill_every: float = 4.0
    """Seconds between two kills, on average."""
    past: int = 5
    """Times before the beginning that a backfill fires, for each twentieth campaign."""
    sweep_every: float = 10.0
    """Seconds after which a replica looks without a ring; also the lease on cycles."""
    settle_within: float = 240.0
    """Seconds in which everything must have ended once the last time was due."""


@dataclass(frozen=True)
class Pause:
    """A stretch in which a campaign is paused."""

    start: int
    end: int
    cancel: bool
    """Whether its open cycles are cancelled."""
    backfill: bool
    """Whether the times of the pause are fired afterwards."""


@dataclass(frozen=True)
class Member:
    """One campaign."""

    name: str
    kind: str
    """`interval`, `cron` or `once`."""
    every: int
    """Between two times."""
    start: int
    end: int
    """First moment after its last time."""
    overlap: str
    jitter: int
    roles: tuple[str, ...]
    pace: str
    pause: Pause | None
    past: int
    """Times before the beginning that are fired by a backfill."""


def window(options: Options) -> int:
    """From the first time that may be due to the last."""
    return round(options.minutes * MINUTE)


def plan(options: Options) -> tuple[Member, ...]:
    """All campaigns, in the order of their first times."""
    random = Random(options.seed)
    members = [_member(number, options, random) for number in range(options.campaigns)]
    return tuple(sorted(members, key=lambda each: each.start))


def _member(number: int, options: Options, random: Random) -> Member:
    every = options.every * MINUTE
    whole = window(options) >= every
    spread = min(every, window(options))
    past = options.past if number % 20 == 10 else 0
    start = random.randrange(spread)
    kind = "interval" if past or number % 10 else "cron" if whole else "once"
    pace = STUMBLING if number % 25 == 4 else SLOW if whole and number % 16 == 3 else INSTANT
    return Member(
        name=f"c{number:05}",
        kind=kind,
        every=every,
        start=start - past * every,
        # One time for each, where there is no room for two.
        end=start + (window(options) if whole else 1),
        # Not in step with what else goes by the number: each policy meets each pace, pause and backfill.
        overlap=OVERLAPS[(number + number // 5) % len(OVERLAPS)],
        jitter=min(20 * SECOND, spread // 4) if number % 5 == 2 else 0,
        roles=_TWO_ROLES if number % 10 == 5 else _TWO_ROLES[:1],
        pace=pace,
        pause=_pause(number, start, options, random) if number % 5 == 1 else None,
        past=past,
    )


def _pause(number: int, first: int, options: Options, random: Random) -> Pause:
    length = window(options)
    start = random.randrange(7 * length // 10)
    end = start + random.randrange(length // 10, 3 * length // 10)
    if number % 10 == 1:  # around a time of its own, however few there are
        start, end = max(0, first - length // 10), first + length // 10
    return Pause(start, end, cancel=number % 4 == 1, backfill=number % 10 == 1)


def quiet_at(members: Sequence[Member]) -> int:
    """When the last time of the plan was due, jitter and pauses included."""
    ends = [each.end + each.jitter for each in members]
    return max([*ends, *(each.pause.end for each in members if each.pause is not None)])
