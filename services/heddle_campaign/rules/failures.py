"""Failures of cycles: when a turn is tried again, when a campaign pauses, and when only a person may resume it."""

from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from hashlib import sha256

from heddle_core.clock import Micros, micros

LONGEST_BACKOFF = timedelta(hours=1)
SPREAD = 0.2
"""How far a wait is moved either way, as a part of it, so that what failed together is not tried together."""


@dataclass(frozen=True, slots=True)
class FailurePolicy:
    """How failures are borne."""

    pause_after: int = 3
    """Failed cycles in a row that pause the campaign."""
    require_person_after: int = 5
    """Failed cycles in a row after which only a person can resume it."""
    max_attempts: int = 3
    """Most attempts for one agent's turn in a cycle."""
    initial_backoff: timedelta = timedelta(seconds=10)
    """Wait before the second attempt; doubled for each further one."""


class FailureStep(Enum):
    """What a cycle's end asks for."""

    GO_ON = "nothing"
    PAUSE = "the campaign pauses"
    NEED_PERSON = "the campaign pauses, and only a person can resume it"


def failures_after(in_row: int, *, failed: bool) -> int:
    """Failed cycles in a row, after one more has ended; a completed one ends the row."""
    return in_row + 1 if failed else 0


def failure_step(policy: FailurePolicy, in_row: int) -> FailureStep:
    """What this many failed cycles in a row ask for."""
    if in_row >= policy.require_person_after:
        return FailureStep.NEED_PERSON
    return FailureStep.PAUSE if in_row >= policy.pause_after else FailureStep.GO_ON


def next_attempt(
    policy: FailurePolicy, request_id: str, attempt: int, now: Micros, *, retryable: bool
) -> Micros | None:
    """When a turn is tried again after its attempt (from 1) has failed, or None: that was its last.

    The attempt is raised only then. An attempt whose outcome is unknown has not failed, and is asked again under the
    same request id, without this.
    """
    if not retryable or attempt >= policy.max_attempts:
        return None
    doubled = policy.initial_backoff * 2 ** min(attempt - 1, 32)
    wait = micros(min(doubled, LONGEST_BACKOFF))
    share = int.from_bytes(sha256(request_id.encode()).digest()[:8], "big") / 2**64
    return Micros(now + round(wait * (1 + SPREAD * (2 * share - 1))))
