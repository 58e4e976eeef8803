"""What several commands for campaigns take, as typed."""

from enum import Enum
from typing import Annotated

import typer

CampaignArgument = Annotated[
    str, typer.Argument(metavar="CAMPAIGN", help="Its id, or the name that its file gives it.")
]
NoteOption = Annotated[str, typer.Option("--note", help="Why, for people.")]
CancelOption = Annotated[bool, typer.Option("--cancel-cycles", help="Cancel the cycles at work too.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


class State(Enum):
    """States that a campaign can be in."""

    DRAFT = "draft"
    ACTIVE = "active"
    PAUSED = "paused"
    COMPLETED = "completed"


class Overlap(Enum):
    """What to do while another cycle is at work."""

    SKIP = "skip"
    BUFFER_ONE = "buffer-one"
    BUFFER_ALL = "buffer-all"
    CANCEL_OTHER = "cancel-other"
    ALLOW_ALL = "allow-all"


class MissingTime(Enum):
    """What to do with a local time that a clock change leaves out."""

    SHIFT = "shift"
    SKIP = "skip"


class RepeatedTime(Enum):
    """What to do with a local time that a clock change repeats."""

    FIRST = "first"
    LAST = "last"
    BOTH = "both"


class CycleStateName(Enum):
    """States that a cycle can be in."""

    DUE = "due"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


class Origin(Enum):
    """What made a cycle."""

    SCHEDULE = "schedule"
    BACKFILL = "backfill"
    MANUAL = "manual"
    SIGNAL = "signal"


class Kind(Enum):
    """What a memory records."""

    OUTCOME = "outcome"
    DECISION = "decision"
    WINNER = "winner"
    NOTE = "note"


OverlapOption = Annotated[Overlap | None, typer.Option("--overlap", help="What to do while another cycle is at work.")]
