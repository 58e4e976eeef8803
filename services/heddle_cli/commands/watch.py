"""`heddle watch`."""

from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from heddle.runtime.v1.run_pb2 import Run
    from heddle_cli.faults import ExitCode
    from heddle_cli.session import Session


def watch(
    context: typer.Context,
    target: Annotated[str, typer.Argument(metavar="THREAD|RUN", help="What to follow.")],
    after: Annotated[int, typer.Option("--after", min=0, metavar="SEQUENCE", help="Only facts after this one.")] = 0,
    deltas: Annotated[bool, typer.Option("--deltas/--no-deltas", help="Show words while they are written.")] = True,
    events: Annotated[bool, typer.Option("--events", help="Show facts, one a line, instead of the talk.")] = False,
) -> None:
    """Follow a thread or a run, from any point, live.

    It ends with the run; a thread is followed until Ctrl-C. With --json, each frame of the stream is one line.
    """
    from heddle_cli.session import Session, perform

    async def follow(session: Session) -> "ExitCode | None":
        run = await _run_of(session, target)
        return await _watch(session, target, run, after=after, deltas=deltas, events=events)

    perform(context, follow)


async def _run_of(session: "Session", target: str) -> "Run | None":
    """The run of that id; None when it is a thread's. Raises ThreadNotFound for neither."""
    from heddle.runtime.v1.run_service_pb2 import GetRunRequest
    from heddle.runtime.v1.thread_service_pb2 import GetThreadRequest
    from heddle_core.runtime_errors import RunNotFound, ThreadNotFound

    try:
        await session.stubs.threads.GetThread(GetThreadRequest(thread_id=target))
    except ThreadNotFound as no_thread:
        try:
            return (await session.runtime.get_run(GetRunRequest(run_id=target))).run
        except RunNotFound:
            raise no_thread from None
    return None


async def _watch(
    session: "Session", target: str, run: "Run | None", *, after: int, deltas: bool, events: bool
) -> "ExitCode | None":
    from google.protobuf.json_format import MessageToDict

    from heddle_cli.display.following import following
    from heddle_cli.display.timeline import event_line
    from heddle_cli.run_ends import show_to_its_end
    from heddle_cli.turns import Telling, run_source
    from heddle_client.resume import follow_thread

    screen = session.screen
    telling = Telling(thread_id=target)
    if run is not None and not events and not screen.machine:
        told = Telling(thread_id=run.thread_id, run_id=run.run_id)
        source = run_source(session, run, after_sequence=after, end_on_waiting=False)
        return await show_to_its_end(session, source, told=told)
    if run is not None:
        frames = run_source(session, run, after_sequence=after, end_on_waiting=False)(telling)
    else:
        frames = follow_thread(session.runtime, target, after_sequence=after, deltas=deltas)
    shown = following(screen, users=True)
    try:
        async with aclosing(frames) as stream:
            async for frame in stream:
                if screen.machine:
                    if deltas or frame.WhichOneof("frame") != "deltas":
                        screen.data_line(MessageToDict(frame, preserving_proto_field_name=True))
                elif events:
                    for event in frame.events.events:
                        screen.say(event_line(event))
                else:
                    telling.take(frame)
                    shown.show(telling.transcript)
    finally:
        shown.pause()
    return None


COMMANDS = {"watch": watch}
