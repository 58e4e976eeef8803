"""`heddle verify`."""

from typing import TYPE_CHECKING, Annotated

import typer

from heddle_cli.copying import DatabaseUrl, DataDir, Show

if TYPE_CHECKING:
    from heddle_cli.display.screen import Screen
    from heddle_cli.faults import ExitCode
    from heddle_cli.session import Session


def verify(
    context: typer.Context,
    thread_id: Annotated[str, typer.Argument(metavar="[THREAD]", help="The thread.")] = "",
    whole: Annotated[bool, typer.Option("--all", help="Every thread, archived ones too.")] = False,
    data_dir: DataDir = "",
    database: DatabaseUrl = "",
) -> None:
    """Check the numbers and the hash chain of threads.

    By a server, those of its caller's tenant; or, with --data-dir or --database, the whole database without a server.
    """
    if data_dir or (database and not thread_id and not whole):
        if thread_id or whole:
            raise typer.BadParameter("a whole database is verified, and no single thread: leave THREAD and --all out")
        _verify_database(context, data_dir, database)
    else:
        _ask_server(context, thread_id, whole=whole)


def _verify_database(context: typer.Context, data_dir: str, database: str) -> None:
    from heddle_cli.copying import audit_lines, audit_told, code_of_audit, place_of, work
    from heddle_runtime.maintenance.auditing import audit
    from heddle_runtime.maintenance.databases import opened_for_reading

    place = place_of(data_dir, database)

    async def check(screen: "Screen", show: Show) -> "ExitCode":
        async with opened_for_reading(place) as opened:
            found = await audit(opened, lambda done, of: show("verifying events", done, of))
        if screen.machine:
            screen.data(audit_told(found))
        else:
            for line in audit_lines(found):
                screen.say(line)
        return code_of_audit(found)

    work(context, check)


def _ask_server(context: typer.Context, thread_id: str, *, whole: bool) -> None:
    from heddle.runtime.v1.thread_service_pb2 import VerifyThreadRequest
    from heddle_cli.display.screen import as_json
    from heddle_cli.faults import ExitCode
    from heddle_cli.session import Session, perform
    from heddle_core.runtime_errors import ChainBroken

    if bool(thread_id) == whole:
        raise typer.BadParameter("name a THREAD, or give --all")

    async def check_one(session: Session) -> None:
        told = await session.stubs.threads.VerifyThread(VerifyThreadRequest(thread_id=thread_id))
        session.screen.result(
            told,
            lambda: (
                f"thread {thread_id} verifies: {told.events} facts, {told.snapshots} snapshots, "
                f"{len(told.redacted_sequences)} redacted, hash {told.last_hash.hex()}"
            ),
        )

    async def check_all(session: Session) -> ExitCode:
        broken = 0
        for each in await _thread_ids(session):
            try:
                told = await session.stubs.threads.VerifyThread(VerifyThreadRequest(thread_id=each))
            except ChainBroken as error:
                broken += 1
                line = {"thread_id": each, "verified": False, "problem": str(error)}
                words = f"BROKEN   {each}  {error}"
            else:
                line = {"thread_id": each, "verified": True, **as_json(told)}
                words = f"verifies {each}  {told.events} facts, hash {told.last_hash.hex()[:16]}"
            if session.screen.machine:
                session.screen.data_line(line)
            else:
                session.screen.say(words)
        return ExitCode.HEDDLE_ERROR if broken else ExitCode.OK

    perform(context, check_all if whole else check_one)


async def _thread_ids(session: "Session") -> list[str]:
    from heddle.runtime.v1.thread_pb2 import ThreadState
    from heddle.runtime.v1.thread_service_pb2 import ListThreadsRequest
    from heddle_cli.paging import MOST_PAGE

    found: list[str] = []
    for state in (ThreadState.THREAD_STATE_ACTIVE, ThreadState.THREAD_STATE_ARCHIVED):
        request = ListThreadsRequest(state=state, page_size=MOST_PAGE, order_by="create_time desc")
        while True:
            page = await session.stubs.threads.ListThreads(request)
            found += [each.thread_id for each in page.threads]
            if not page.next_page_token:
                break
            request.page_token = page.next_page_token
    return list(dict.fromkeys(found))


COMMANDS = {"verify": verify}
