"""Performs one tool call that has been admitted: its intent is on record, so here it is sent, once, and heard out."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta

from heddle_core.clock import MICROS_PER_SECOND, Clock
from heddle_runtime.runs.stop import Stop
from heddle_runtime.tools.outcomes import Failed, Heard, InDoubt, Outcome, Silence, Stopped, outcome_of
from heddle_runtime.tools.port import ToolEnd, ToolFault, ToolFaultKind, ToolInvocation, ToolProgress, ToolProvider
from heddle_runtime.tools.results import MOST_TEXT, bounded, bounded_progress

GRACE = timedelta(seconds=2)
"""How long a tool that was told to stop may take to end."""
LAST_WORDS = timedelta(milliseconds=500)
"""How long a provider may take to end its stream after a result. A second result is looked for in that time."""

FIRST_PAUSE = timedelta(milliseconds=100)
LONGEST_PAUSE = timedelta(seconds=2)
"""Before a call that broke off is sent again; the pause doubles."""

_MOST_ENDS = 8
"""A provider that repeats its result is not listened to for ever."""

Report = Callable[[ToolProgress], None]
"""Takes a call's progress; must not wait."""


class Executor:
    """Performs calls, each independently of the others."""

    def __init__(self, *, clock: Clock, most_text: int = MOST_TEXT, grace: timedelta = GRACE) -> None:
        self._clock = clock
        self._most_text = most_text
        self._grace = grace.total_seconds()
        self._stragglers: set[asyncio.Task[None]] = set()

    async def perform(
        self,
        provider: ToolProvider,
        invocation: ToolInvocation,
        *,
        report: Report,
        stop: Stop,
        sent_before: bool = False,
    ) -> Outcome:
        """Send the call, report its progress, and say how it came out.

        A call of an idempotent tool that broke off is sent again with the same key, until it is answered (P8): a
        provider that was restarted in the middle is no doubt to ask a person about. The same holds where it was
        `sent_before`, by an owner that is gone: then it is not enough that it cannot be reached now, or does not take
        our credential any more. What is not answered before the deadline stays in doubt, also where the last attempt
        was certainly not heard.

        Ends at the invocation's deadline, or the tool's own if that is sooner, or when `stop` is set; the tool is then
        told, and given 2 s. Raises nothing but CancelledError, after telling the tool in the same way.
        """
        doubt: InDoubt | None = InDoubt("an earlier owner sent it, and nobody heard the end") if sent_before else None
        pause = FIRST_PAUSE.total_seconds()
        while True:
            outcome, fault = await self._perform_once(provider, invocation, report=report, stop=stop)
            if doubt is not None and isinstance(outcome, Stopped):
                return Stopped(confirmed=invocation.spec.read_only)  # what an earlier sending did is not known
            if isinstance(outcome, InDoubt):
                doubt = outcome
            if fault is None or (fault.kind is ToolFaultKind.REFUSED and not fault.reason):
                return outcome
            if doubt is None or not invocation.spec.idempotent:
                return outcome
            if fault.deadline_passed or self._seconds_left(invocation) <= pause:
                return _still(doubt, fault)
            async with stop.within(pause):
                await asyncio.sleep(pause)
            if stop.is_set():
                return Stopped(confirmed=False)
            pause = min(pause * 2, LONGEST_PAUSE.total_seconds())

    async def _perform_once(
        self, provider: ToolProvider, invocation: ToolInvocation, *, report: Report, stop: Stop
    ) -> tuple[Outcome, ToolFault | None]:
        """Send the call once; how it came out, and the fault in which it ended if no end was heard."""
        if stop.is_set():
            return Stopped(confirmed=True), None
        seconds = self._seconds_left(invocation)
        if seconds <= 0:
            message = f"{invocation.spec.path} was not called: its deadline had passed already"
            return Failed(message), ToolFault(ToolFaultKind.NOT_SENT, message, deadline_passed=True)
        hearing = _Hearing(report, self._most_text)
        # A task of its own: a tool that does not end when it is told to must not hold its run.
        listening = asyncio.create_task(_listen(provider, invocation, hearing))
        try:
            async with stop.within(seconds):
                await asyncio.wait((listening,))
            silence = _silence(listening, stop)
        finally:
            await self._end(listening)
        heard = Heard(
            ends=tuple(hearing.ends),
            fault=hearing.fault,
            silence=silence,
            surely_over=listening.done() and provider.confirms_stop,
        )
        broke_off = silence is Silence.ENDED and not heard.ends
        return outcome_of(invocation.spec, heard), heard.fault if broke_off else None

    async def close(self) -> None:
        """Wait for calls that did not end when they were told to; each is told once more."""
        for straggler in self._stragglers:
            straggler.cancel()
        if self._stragglers:
            await asyncio.wait(self._stragglers, timeout=self._grace)

    def _seconds_left(self, invocation: ToolInvocation) -> float:
        by_context = (invocation.context.deadline - self._clock.now()) / MICROS_PER_SECOND
        return min(by_context, invocation.spec.deadline.total_seconds())

    async def _end(self, listening: asyncio.Task[None]) -> None:
        """Cancel the call if it is not over, and wait for its end, but not for ever."""
        if listening.done():
            return
        self._stragglers.add(listening)
        listening.add_done_callback(self._stragglers.discard)
        listening.cancel()
        await asyncio.wait({listening}, timeout=self._grace)


@dataclass(slots=True)
class _Hearing:
    """What has been heard of a call so far."""

    report: Report
    most_text: int
    ends: list[ToolEnd] = field(default_factory=list[ToolEnd])
    fault: ToolFault | None = None


async def _listen(provider: ToolProvider, invocation: ToolInvocation, hearing: _Hearing) -> None:
    """Read the call to its end. Cancelled, it still takes what the provider says at once."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(None) as patience, aclosing(provider.call(invocation)) as events:
            async for event in events:
                if isinstance(event, ToolProgress):
                    if not hearing.ends:
                        hearing.report(bounded_progress(event))
                    continue
                if not hearing.ends:
                    patience.reschedule(loop.time() + LAST_WORDS.total_seconds())
                hearing.ends.append(bounded(event, most_text=hearing.most_text))
                if len(hearing.ends) == _MOST_ENDS:
                    return
    except TimeoutError:
        if not hearing.ends:
            hearing.fault = ToolFault(ToolFaultKind.IN_DOUBT, f"{invocation.spec.path} broke off (TimeoutError)")
    except ToolFault as fault:
        hearing.fault = fault
    except Exception as error:  # a provider is a plug-in: whatever it raises is the outcome of this one call
        message = f"{invocation.spec.path} broke off ({type(error).__name__})"
        hearing.fault = ToolFault(ToolFaultKind.IN_DOUBT, message)


def _still(doubt: InDoubt, last: ToolFault) -> InDoubt:
    """The doubt about an earlier sending, and why the last one did not resolve it."""
    unheard = last.kind is ToolFaultKind.NOT_SENT or last.reason
    return InDoubt(f"{doubt.message}; {last.message}") if unheard else doubt


def _silence(listening: asyncio.Task[None], stop: Stop) -> Silence:
    if listening.done():
        return Silence.ENDED
    return Silence.STOP if stop.is_set() else Silence.DEADLINE
