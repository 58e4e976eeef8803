"""Follows a run to its end, and tells how it ended: as an answer, as JSON, as an exit code."""

from contextlib import aclosing

from heddle.runtime.v1.run_pb2 import Run, RunState
from heddle.runtime.v1.run_service_pb2 import GetRunRequest
from heddle_cli.display.following import following
from heddle_cli.display.screen import as_json
from heddle_cli.faults import ExitCode
from heddle_cli.session import Session
from heddle_cli.turns import Telling, follow_run

_FAILED = frozenset({RunState.RUN_STATE_FAILED, RunState.RUN_STATE_CANCELLED})


async def show_to_its_end(session: Session, run: Run, *, after_sequence: int | None = None) -> ExitCode:
    """Show a run's words from a cursor (its own beginning, when None) until it has ended."""
    telling = Telling(thread_id=run.thread_id, run_id=run.run_id)
    shown = following(session.screen, run.run_id)
    cursor = max(run.request_sequence - 1, 0) if after_sequence is None else after_sequence
    frames = follow_run(session, run.thread_id, run.run_id, after_sequence=cursor)
    try:
        async with aclosing(frames) as stream:
            async for frame in stream:
                telling.take(frame)
                shown.show(telling.transcript)
    finally:
        shown.pause()
    return await tell_end(session, run.run_id)


async def tell_end(session: Session, run_id: str) -> ExitCode:
    """The exit code of a run as it stands; and the run itself where JSON is wanted."""
    run = (await session.runtime.get_run(GetRunRequest(run_id=run_id))).run
    if session.screen.machine:
        session.screen.data(as_json(run))
    elif run.state == RunState.RUN_STATE_WAITING:
        session.screen.note(f"run {run_id} waits: `heddle answer` lists what is asked")
    return ExitCode.RUN_FAILED if run.state in _FAILED else ExitCode.OK
