"""How one admitted call came out, as a closed set: what the tool loop decides on. Pure, from what was heard."""

from enum import Enum

from heddle_core.values import value
from heddle_runtime.runs.content import plain_text
from heddle_runtime.tools.port import (
    ToolDeferral,
    ToolEnd,
    ToolFault,
    ToolFaultKind,
    ToolQuestion,
    ToolReply,
    ToolSpec,
)


@value
class Replied:
    """The tool did what was asked."""

    reply: ToolReply


@value
class Deferred:
    """The result comes through ResolveInput."""

    deferral: ToolDeferral


@value
class Asked:
    """A person must answer first."""

    question: ToolQuestion


@value
class Failed:
    """The tool says that it failed, or the effect certainly did not happen. The model is told."""

    message: str
    reply: ToolReply | None = None
    """What the tool itself said, with its cost; None if it was never heard."""
    reason: str = ""
    """Why the provider did not let this runtime in; see `ToolFault`."""


@value
class TimedOut:
    """The deadline passed, and the tool only reads: nothing can have happened."""

    message: str


@value
class InDoubt:
    """Whether the effect happened is not known (promise P8: UNKNOWN, never a guess)."""

    message: str


@value
class Stopped:
    """The call was told to stop before it ended."""

    confirmed: bool
    """Whether the effect certainly did not happen; otherwise it is in doubt."""


Outcome = Replied | Deferred | Asked | Failed | TimedOut | InDoubt | Stopped


class Silence(Enum):
    """Why the reading of a call came to its end."""

    ENDED = "ended"
    """The provider ended it."""
    DEADLINE = "deadline"
    STOP = "stop"


@value
class Heard:
    """All that was heard of a call."""

    ends: tuple[ToolEnd, ...]
    fault: ToolFault | None
    silence: Silence
    surely_over: bool
    """Whether the provider has ended the call, and its end proves that nothing happens any more."""


def outcome_of(spec: ToolSpec, heard: Heard) -> Outcome:
    """What `heard` means for a call of `spec`. A result that was heard counts, whatever came after it."""
    if heard.ends:
        first = heard.ends[0]
        if any(other != first for other in heard.ends[1:]):
            return _unknown(spec, f"{spec.path} gave two different results for one call")
        return _of_end(first)
    if heard.fault is not None and heard.fault.kind is not ToolFaultKind.IN_DOUBT:
        failed = Failed(heard.fault.message, reason=heard.fault.reason)
        return Stopped(confirmed=True) if heard.silence is Silence.STOP else failed
    if heard.silence is Silence.STOP:
        return Stopped(confirmed=spec.read_only or (heard.surely_over and heard.fault is None))
    if heard.silence is Silence.DEADLINE or (heard.fault is not None and heard.fault.deadline_passed):
        return _late(spec, heard)
    if heard.fault is not None:
        return _unknown(spec, heard.fault.message)
    return _unknown(spec, f"{spec.path} ended the call without a result")


def _of_end(end: ToolEnd) -> Outcome:
    match end:
        case ToolReply(ok=True):
            return Replied(end)
        case ToolReply():
            return Failed(plain_text(end.content) or "the tool failed and did not say why", end)
        case ToolDeferral():
            return Deferred(end)
        case ToolQuestion():
            return Asked(end)


def _late(spec: ToolSpec, heard: Heard) -> Outcome:
    message = f"{spec.path} did not answer before its deadline"
    if spec.read_only:
        return TimedOut(message)
    if heard.surely_over and heard.fault is None:
        return Failed(f"{message} and was stopped before it did anything")
    return InDoubt(f"{message}: whether it did anything is not known")


def _unknown(spec: ToolSpec, what: str) -> Outcome:
    """A call without a trustworthy end: harmless if the tool only reads."""
    return Failed(what) if spec.read_only else InDoubt(f"{what}: whether it did anything is not known")
