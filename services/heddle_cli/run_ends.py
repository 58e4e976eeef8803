"""Follows a run to its end, and tells how it ended: as an answer, as JSON, as an exit code."""

from heddle.runtime.v1.run_pb2 import RunState
from heddle.runtime.v1.run_service_pb2 import GetRunRequest
from heddle_cli.asking import asker
from heddle_cli.display.following import following
from heddle_cli.display.screen import as_json
from heddle_cli.faults import ExitCode
from heddle_cli.session import Session
from heddle_cli.turns import HungUp, Source, Telling, converse

_FAILED = frozenset({RunState.RUN_STATE_FAILED, RunState.RUN_STATE_CANCELLED})


async def show_to_its_end(
    session: Session, source: Source, *, told: Telling | None = None, turn_request_id: str = ""
) -> ExitCode:
    """Show a run's words until it has ended or waits, asking on the way where somebody can be asked."""
    screen = session.screen
    try:
        telling = await converse(
            session,
            source,
            display=lambda run_id: following(screen, run_id),
            ask=asker(screen),
            told=told,
            turn_request_id=turn_request_id,
        )
    except HungUp:
        screen.note("left; the run ends by itself: `heddle runs list` shows it")
        return ExitCode.INTERRUPTED
    if not screen.machine:
        screen.note(f"thread {telling.thread_id}, run {telling.run_id}")
    return await _tell_end(session, telling.run_id)


async def _tell_end(session: Session, run_id: str) -> ExitCode:
    """The exit code of a run as it stands; and the run itself where JSON is wanted."""
    run = (await session.runtime.get_run(GetRunRequest(run_id=run_id))).run
    if session.screen.machine:
        session.screen.data(as_json(run))
    elif run.state == RunState.RUN_STATE_WAITING:
        session.screen.note(f"run {run_id} waits: `heddle answer` lists what is asked")
    return ExitCode.RUN_FAILED if run.state in _FAILED else ExitCode.OK
