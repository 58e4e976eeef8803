"""One turn from beginning to end: streamed, interrupted by Ctrl-C, and its questions answered on the way."""

import asyncio
import signal
from collections.abc import Callable, Coroutine, Generator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field

from heddle.runtime.v1.agent_runtime_pb2 import CancelRunRequest, ResolveInputRequest, StartStreamingTurnRequest
from heddle.runtime.v1.input_pb2 import InputAnswer, InputRequest
from heddle.runtime.v1.run_pb2 import Run, RunState
from heddle.runtime.v1.run_service_pb2 import GetRunRequest
from heddle.runtime.v1.stream_pb2 import DeltaBatch, EventBatch, StreamFrame
from heddle_cli.display.following import Following
from heddle_cli.session import Session
from heddle_client.port import FrameStream
from heddle_client.resume import follow_thread, follow_turn
from heddle_client.transcript import Transcript
from heddle_client.transcript_lines import RunLine
from heddle_core.faults import HeddleError
from heddle_core.runtime_errors import InputAlreadyResolved, InputExpired

TERMINAL = frozenset({"run_completed", "run_failed", "run_cancelled"})

Asker = Callable[[InputRequest], InputAnswer | None]
"""Asks a person. None: not now."""


@dataclass
class Telling:
    """What is known of a run that is being followed."""

    transcript: Transcript = field(default_factory=Transcript)
    thread_id: str = ""
    run_id: str = ""

    @property
    def run(self) -> RunLine:
        """The run as far as it is known."""
        return self.transcript.runs.get(self.run_id) or RunLine(self.run_id)

    @property
    def pending(self) -> list[InputRequest]:
        """What the run waits for."""
        return [each for each in self.transcript.inputs.values() if each.run_id == self.run_id]

    def take(self, frame: StreamFrame) -> None:
        """Fold one frame in."""
        if frame.WhichOneof("frame") == "opened":
            self.thread_id = frame.opened.thread_id
            self.run_id = self.run_id or frame.opened.run_id
        self.transcript = self.transcript.after(frame)


class HungUp(Exception):
    """The person left; the run goes on, or ends as it was told to."""


Source = Callable[[Telling], FrameStream]
"""Opens a run's stream where a telling ends."""


def turn_source(session: Session, request: StartStreamingTurnRequest) -> Source:
    """Starts a turn, then joins it by its request id. Ends when the run has ended, or waits if the request says so."""

    def open_stream(telling: Telling) -> FrameStream:
        if not telling.run_id:
            return follow_turn(session.runtime, request)
        join = StartStreamingTurnRequest(request_id=request.request_id, after_sequence=telling.transcript.sequence)
        join.end_on_waiting = request.end_on_waiting or not request.HasField("end_on_waiting")
        return follow_turn(session.runtime, join)

    return open_stream


def run_source(session: Session, run: Run, *, after_sequence: int = 0, end_on_waiting: bool = True) -> Source:
    """Follows a run, whoever started it and however."""
    first = max(after_sequence, run.request_sequence - 1, 0)

    def open_stream(telling: Telling) -> FrameStream:
        cursor = max(first, telling.transcript.sequence)
        return _follow_run(session, run, after_sequence=cursor, end_on_waiting=end_on_waiting)

    return open_stream


async def converse(
    session: Session,
    source: Source,
    *,
    display: Callable[[str], Following],
    ask: Asker | None = None,
    told: Telling | None = None,
    turn_request_id: str = "",
) -> Telling:
    """Follow a run until it has ended, or waits for what nobody here answers.

    `display` is made for the run's id. The first Ctrl-C cancels the run, which `turn_request_id` names as long as
    its own id is not known; the second raises HungUp.
    """
    telling = told or Telling()
    shown: Following | None = None

    async def stream() -> None:
        nonlocal shown
        async with aclosing(source(telling)) as frames:
            async for frame in frames:
                telling.take(frame)
                if shown is None and telling.run_id:
                    shown = display(telling.run_id)
                if shown is not None:
                    shown.show(telling.transcript)

    def cancel_request() -> CancelRunRequest:
        request_id = session.new_request_id()
        if telling.run_id:
            return CancelRunRequest(request_id=request_id, run_id=telling.run_id)
        return CancelRunRequest(request_id=request_id, turn_request_id=turn_request_id)

    while True:
        try:
            await _interruptible(session, stream(), cancel_request)
        finally:
            if shown is not None:
                shown.pause()
        if telling.run.ended or ask is None or not telling.pending:
            return telling
        if not await _answered(session, telling, ask):
            return telling


async def _follow_run(session: Session, run: Run, *, after_sequence: int, end_on_waiting: bool) -> FrameStream:
    frames = follow_thread(session.runtime, run.thread_id, after_sequence=after_sequence)
    async with aclosing(frames) as stream:
        async for frame in stream:
            told = only_run(frame, run.run_id)
            if told is None:
                continue
            yield told
            kinds = {event.WhichOneof("payload") for event in told.events.events}
            if kinds & TERMINAL:
                return
            if end_on_waiting and "run_waiting" in kinds and await _waits(session, run.run_id):
                return


async def _waits(session: Session, run_id: str) -> bool:
    """Whether a run waits now: a replayed fact says only that it did once."""
    now = (await session.runtime.get_run(GetRunRequest(run_id=run_id))).run
    return now.state == RunState.RUN_STATE_WAITING


def only_run(frame: StreamFrame, run_id: str) -> StreamFrame | None:
    """What of a frame is about the run; None when nothing is."""
    match frame.WhichOneof("frame"):
        case "events":
            events = [each for each in frame.events.events if each.run_id == run_id]
            return StreamFrame(events=EventBatch(events=events)) if events else None
        case "deltas":
            deltas = [each for each in frame.deltas.deltas if each.run_id == run_id]
            return StreamFrame(deltas=DeltaBatch(deltas=deltas)) if deltas else None
        case _:
            return frame


async def resolve(session: Session, asked: InputRequest, answer: InputAnswer) -> bool:
    """Send an answer; False when somebody, or the clock, was faster."""
    request = ResolveInputRequest(request_id=session.new_request_id(), input_id=asked.input_id, answer=answer)
    try:
        await session.runtime.resolve_input(request)
    except (InputAlreadyResolved, InputExpired) as error:
        session.screen.note(str(error))
        return False
    return True


async def _answered(session: Session, telling: Telling, ask: Asker) -> bool:
    """Whether something was answered, so that the run may go on."""
    moved = False
    for asked in telling.pending:
        try:
            with keyboard_interrupts():
                answer = ask(asked)
        except KeyboardInterrupt:
            await _cancel(session, CancelRunRequest(request_id=session.new_request_id(), run_id=telling.run_id))
            return True
        except EOFError:
            return moved
        if answer is not None:
            await resolve(session, asked, answer)
            moved = True
    return moved


@contextmanager
def keyboard_interrupts() -> Generator[None]:
    """While a person types, Ctrl-C is KeyboardInterrupt at once: the loop's own handler would wait for the line."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


async def _interruptible(
    session: Session, work: Coroutine[None, None, None], cancel_request: Callable[[], CancelRunRequest]
) -> None:
    """Do `work`; the first Ctrl-C cancels the run behind it, the second leaves it with HungUp."""
    loop = asyncio.get_running_loop()
    presses: asyncio.Queue[None] = asyncio.Queue()
    working = asyncio.ensure_future(work)

    async def watch() -> None:
        await presses.get()
        session.screen.note("(cancelling the run; Ctrl-C again leaves)")
        cancelling = asyncio.ensure_future(_cancel(session, cancel_request()))
        try:
            await presses.get()
            working.cancel()
        finally:
            cancelling.cancel()
            await asyncio.wait([cancelling])

    previous = signal.getsignal(signal.SIGINT)
    loop.add_signal_handler(signal.SIGINT, presses.put_nowait, None)
    watching = asyncio.ensure_future(watch())
    try:
        await asyncio.wait([working])
    finally:
        working.cancel()
        watching.cancel()
        await asyncio.wait([working, watching])
        loop.remove_signal_handler(signal.SIGINT)
        signal.signal(signal.SIGINT, previous)
    if working.cancelled():
        raise HungUp
    working.result()


async def _cancel(session: Session, request: CancelRunRequest) -> None:
    try:
        await session.runtime.cancel_run(request)
    except HeddleError as error:
        session.screen.note(str(error))
