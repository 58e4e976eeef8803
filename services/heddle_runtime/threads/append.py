"""What the owner of a run asks of the log, and what it is answered (SEMANTICS 13). Values only."""

from heddle_core.values import value
from heddle_runtime.runs.claim import Claim
from heddle_runtime.threads.events import Event, Payload


@value
class OwnerAppend:
    """Facts that the owner of a run wants written (SEMANTICS 13)."""

    claim: Claim
    number: int
    """Counts up with every append of this claim, from 1: a repeat finds its write applied."""
    known_sequence: int
    """Last sequence of the thread that the owner has seen."""
    payloads: tuple[Payload, ...]
    decisive: bool
    """Whether to refuse when something happened to the run that the owner has not seen: it must decide anew."""


@value
class Appended:
    """The facts are written."""

    events: tuple[Event, ...]


@value
class Overtaken:
    """Nothing is written: something happened to the run that the owner had not seen."""

    last_sequence: int


@value
class CancelledMeanwhile:
    """Nothing is written: the run is to stop, and only its settlement is admitted now."""

    cancel_sequence: int


AppendOutcome = Appended | Overtaken | CancelledMeanwhile
