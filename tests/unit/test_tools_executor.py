"""One admitted call: every way in which it can come out."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timedelta

import pytest

from heddle_core.clock import SystemClock
from heddle_runtime.runs.content import Text
from heddle_runtime.runs.stop import Stop
from heddle_runtime.tools.executor import Executor
from heddle_runtime.tools.outcomes import (
    Asked,
    Deferred,
    Failed,
    InDoubt,
    Outcome,
    Replied,
    Stopped,
    TimedOut,
)
from heddle_runtime.tools.port import (
    RiskClass,
    ToolDeferral,
    ToolEvent,
    ToolFault,
    ToolFaultKind,
    ToolInvocation,
    ToolProgress,
    ToolQuestion,
    ToolReply,
    ToolSpec,
)
from tests.kit.tool_servers import FakeProvider, invocation_of, spec_of

WRITES = spec_of("send")
READS = spec_of("look", risk=RiskClass.READ, read_only=True)
DONE = ToolReply(True, (Text("done"),))
LATER = ToolDeferral("later")
SOON = timedelta(milliseconds=50)


def fault(kind: ToolFaultKind, **fields: bool) -> ToolFault:
    return ToolFault(kind, kind.value, **fields)


async def perform(
    provider: FakeProvider,
    spec: ToolSpec = WRITES,
    *,
    within: timedelta = timedelta(seconds=30),
    grace: timedelta = timedelta(seconds=2),
    reported: list[ToolProgress] | None = None,
    stop: Stop | None = None,
    sent_before: bool = False,
) -> Outcome:
    executor = Executor(clock=SystemClock(), grace=grace)
    report = (reported if reported is not None else []).append
    invocation = invocation_of(spec, within=within)
    return await executor.perform(provider, invocation, report=report, stop=stop or Stop(), sent_before=sent_before)


async def test_a_result_is_returned_and_progress_reported_on_the_way() -> None:
    reported: list[ToolProgress] = []
    half = ToolProgress(0.5, "half")
    assert await perform(FakeProvider(events=[half, DONE]), reported=reported) == Replied(DONE)
    assert reported == [half]


async def test_the_provider_gets_the_very_invocation() -> None:
    provider = FakeProvider(events=[DONE])
    await perform(provider)
    (call,) = provider.calls
    assert (call.idempotency_key, call.context.fence, call.spec) == ("key_1", 7, WRITES)


async def test_deferrals_and_questions_are_passed_on() -> None:
    question = ToolQuestion("Which?", free_text=True)
    assert await perform(FakeProvider(events=[LATER])) == Deferred(LATER)
    assert await perform(FakeProvider(events=[question])) == Asked(question)


async def test_an_error_of_the_tool_is_a_failure_with_its_words_and_cost() -> None:
    reply = ToolReply(False, (Text("no stock"),))
    assert await perform(FakeProvider(events=[reply])) == Failed("no stock", reply)


async def test_a_wordless_error_still_says_something() -> None:
    outcome = await perform(FakeProvider(events=[ToolReply(False)]))
    assert isinstance(outcome, Failed)
    assert outcome.message


@pytest.mark.parametrize("kind", [ToolFaultKind.NOT_SENT, ToolFaultKind.REFUSED])
@pytest.mark.parametrize("spec", [WRITES, READS])
async def test_what_certainly_did_not_happen_is_a_failure(kind: ToolFaultKind, spec: ToolSpec) -> None:
    assert await perform(FakeProvider(fault=fault(kind)), spec) == Failed(kind.value)


@pytest.mark.parametrize(
    "provider",
    [
        FakeProvider(fault=fault(ToolFaultKind.IN_DOUBT)),
        FakeProvider(fault=fault(ToolFaultKind.IN_DOUBT, deadline_passed=True)),
        FakeProvider(fault=KeyError("a bug")),
        FakeProvider(fault=TimeoutError()),
        FakeProvider(fault=asyncio.CancelledError()),
        FakeProvider(events=[ToolProgress(1.0)]),
        FakeProvider(),
        FakeProvider(events=[DONE, ToolReply(False)]),
        FakeProvider(events=[LATER, DONE]),
    ],
    ids=["cut", "late", "bug", "timeout", "cancelled by itself", "progress only", "nothing", "two", "after an end"],
)
async def test_without_one_trustworthy_end_a_writing_tool_is_in_doubt_and_a_reading_one_is_not(
    provider: FakeProvider,
) -> None:
    assert isinstance(await perform(provider), InDoubt)
    assert isinstance(await perform(provider, READS), Failed | TimedOut)


@pytest.mark.parametrize(
    "events",
    [[DONE, DONE], [DONE, ToolProgress(0.1)], [ToolProgress(0.1), DONE]],
    ids=["same twice", "after", "before"],
)
async def test_a_result_counts_if_nothing_contradicts_it(events: list[ToolEvent]) -> None:
    reported: list[ToolProgress] = []
    assert await perform(FakeProvider(events=events), reported=reported) == Replied(DONE)
    assert len(reported) == (1 if isinstance(events[0], ToolProgress) else 0)


async def test_a_result_counts_even_if_the_stream_breaks_after_it() -> None:
    provider = FakeProvider(events=[DONE], fault=fault(ToolFaultKind.IN_DOUBT))
    assert await perform(provider) == Replied(DONE)


async def test_a_stream_that_stays_open_after_its_result_is_closed() -> None:
    assert await perform(FakeProvider(events=[DONE], hang=True)) == Replied(DONE)


async def test_a_provider_that_ends_without_end_is_not_heard_for_ever() -> None:
    assert await perform(FakeProvider(events=[DONE] * 10_000)) == Replied(DONE)


async def test_at_the_deadline_a_reading_tool_has_timed_out() -> None:
    assert isinstance(await perform(FakeProvider(hang=True), READS, within=SOON), TimedOut)


async def test_at_the_deadline_a_writing_tool_that_cannot_confirm_is_in_doubt() -> None:
    assert isinstance(await perform(FakeProvider(hang=True, confirms_stop=False), within=SOON), InDoubt)


async def test_at_the_deadline_a_writing_tool_that_confirms_has_failed() -> None:
    assert isinstance(await perform(FakeProvider(hang=True), within=SOON), Failed)


async def test_the_deadline_of_the_tool_counts_if_it_is_sooner() -> None:
    spec = spec_of("slow", deadline=SOON, read_only=True, risk=RiskClass.READ)
    assert isinstance(await perform(FakeProvider(hang=True), spec), TimedOut)


async def test_past_its_deadline_a_call_is_not_sent() -> None:
    provider = FakeProvider(events=[DONE])
    assert isinstance(await perform(provider, within=timedelta(0)), Failed)
    assert provider.calls == []


async def test_a_result_that_comes_when_told_to_stop_counts() -> None:
    provider = FakeProvider(hang=True, last_word=DONE)
    assert await perform(provider, within=SOON) == Replied(DONE)


@pytest.mark.parametrize(
    ("confirms", "spec", "sure"), [(True, WRITES, True), (False, WRITES, False), (False, READS, True)]
)
async def test_a_stop_says_whether_it_is_sure(confirms: bool, spec: ToolSpec, sure: bool) -> None:
    provider, stop = FakeProvider(hang=True, confirms_stop=confirms), Stop()
    async with asyncio.TaskGroup() as group:
        performing = group.create_task(perform(provider, spec, stop=stop))
        await provider.called.wait()
        stop.set()
    assert performing.result() == Stopped(confirmed=sure)


async def test_a_stop_before_the_call_sends_nothing() -> None:
    provider, stop = FakeProvider(events=[DONE]), Stop()
    stop.set()
    assert await perform(provider, stop=stop) == Stopped(confirmed=True)
    assert provider.calls == []


async def test_a_result_beats_a_stop() -> None:
    provider, stop = FakeProvider(hang=True, last_word=DONE), Stop()
    async with asyncio.TaskGroup() as group:
        performing = group.create_task(perform(provider, stop=stop))
        await provider.called.wait()
        stop.set()
    assert performing.result() == Replied(DONE)


async def test_a_deaf_tool_is_waited_for_no_longer_than_the_grace_and_is_ended_at_close() -> None:
    released = asyncio.Event()
    provider, stop = FakeProvider(hang=True, deaf=released), Stop()
    executor = Executor(clock=SystemClock(), grace=SOON)
    async with asyncio.TaskGroup() as group:
        performing = group.create_task(
            executor.perform(provider, invocation_of(WRITES), report=lambda _: None, stop=stop)
        )
        await provider.called.wait()
        stop.set()
    assert performing.result() == Stopped(confirmed=False)
    before = asyncio.all_tasks()
    await executor.close()
    assert len(before) - len(asyncio.all_tasks()) == 1


async def test_cancelling_the_performer_tells_the_tool_and_is_passed_on() -> None:
    provider = FakeProvider(hang=True)
    performing = asyncio.ensure_future(perform(provider))
    await provider.called.wait()
    tasks = len(asyncio.all_tasks())
    performing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await performing
    assert len(asyncio.all_tasks()) == tasks - 2


async def test_results_are_bounded() -> None:
    outcome = await perform(FakeProvider(events=[ToolReply(True, (Text("\0" + "x" * 300_000),))]))
    assert isinstance(outcome, Replied)
    text = outcome.reply.content[0]
    assert isinstance(text, Text)
    assert len(text.text) == 256 << 10


# --- calls that may be repeated -----------------------------------------------------------------------------


class BreakingProvider(FakeProvider):
    """Raises the next of `faults` at each call, and does what it is told once there are none."""

    def __init__(self, *faults: Exception) -> None:
        super().__init__(events=[DONE])
        self.faults = list(faults)

    async def call(self, invocation: ToolInvocation) -> AsyncGenerator[ToolEvent, None]:
        if self.faults:
            self.calls.append(invocation)
            self.called.set()
            raise self.faults.pop(0)
        async with aclosing(super().call(invocation)) as events:
            async for event in events:
                yield event


REPEATABLE = spec_of("book", idempotent=True)


async def test_an_idempotent_call_that_broke_off_is_sent_again_with_the_same_key_until_it_is_answered() -> None:
    provider = BreakingProvider(fault(ToolFaultKind.IN_DOUBT), fault(ToolFaultKind.NOT_SENT))
    assert await perform(provider, REPEATABLE) == Replied(DONE)
    assert len(provider.calls) == 3
    assert {each.idempotency_key for each in provider.calls} == {"key_1"}


async def test_an_idempotent_call_that_an_earlier_owner_sent_is_sent_until_it_is_answered() -> None:
    provider = BreakingProvider(*[fault(ToolFaultKind.NOT_SENT)] * 2)
    assert await perform(provider, REPEATABLE, sent_before=True) == Replied(DONE)
    assert len(provider.calls) == 3


async def test_an_idempotent_call_that_is_never_answered_stays_in_doubt() -> None:
    provider = BreakingProvider(fault(ToolFaultKind.IN_DOUBT), *[fault(ToolFaultKind.NOT_SENT)] * 9)
    assert isinstance(await perform(provider, REPEATABLE, within=timedelta(milliseconds=400)), InDoubt)
    assert len(provider.calls) > 1


async def test_a_refusal_of_the_repeated_call_is_its_end() -> None:
    provider = BreakingProvider(fault(ToolFaultKind.IN_DOUBT), fault(ToolFaultKind.REFUSED))
    assert await perform(provider, REPEATABLE) == Failed("refused")


async def test_a_stop_between_two_attempts_leaves_the_call_unsure() -> None:
    provider, stop = BreakingProvider(*[fault(ToolFaultKind.IN_DOUBT)] * 99), Stop()
    async with asyncio.TaskGroup() as group:
        performing = group.create_task(perform(provider, REPEATABLE, stop=stop))
        await provider.called.wait()
        stop.set()
    assert performing.result() == Stopped(confirmed=False)


async def test_a_call_that_an_earlier_owner_sent_is_unsure_even_if_it_is_stopped_before_it_is_sent() -> None:
    stop = Stop()
    stop.set()
    provider = FakeProvider(events=[DONE])
    assert await perform(provider, REPEATABLE, stop=stop, sent_before=True) == Stopped(confirmed=False)
    assert await perform(provider, READS, stop=stop, sent_before=True) == Stopped(confirmed=True)
    assert provider.calls == []


async def test_a_call_that_an_earlier_owner_sent_is_in_doubt_even_if_no_time_is_left_to_send_it() -> None:
    outcome = await perform(FakeProvider(events=[DONE]), REPEATABLE, within=timedelta(0), sent_before=True)
    assert isinstance(outcome, InDoubt) and "deadline had passed" in outcome.message
