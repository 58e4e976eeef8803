"""`heddle threads`."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from heddle.runtime.v1.thread_pb2 import ThreadSettings
    from heddle_cli.session import Session

ThreadArgument = Annotated[str, typer.Argument(metavar="THREAD", help="The thread.")]


def list_threads(
    context: typer.Context,
    archived: Annotated[bool, typer.Option("--archived", help="Those that are archived, instead.")] = False,
    title: Annotated[str, typer.Option("--title", help="Only those whose title contains this.")] = "",
    label: Annotated[list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="Only with it.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Most threads to list.")] = 50,
) -> None:
    """List threads: pinned first, then the latest changed."""
    from heddle.runtime.v1.thread_pb2 import ThreadState
    from heddle.runtime.v1.thread_service_pb2 import ListThreadsRequest, ListThreadsResponse
    from heddle_cli import arguments
    from heddle_cli.display.resources import thread_list
    from heddle_cli.paging import collect
    from heddle_cli.session import Session, perform

    marks = arguments.labels(label or [])
    state = ThreadState.THREAD_STATE_ARCHIVED if archived else ThreadState.THREAD_STATE_ACTIVE

    async def show(session: Session) -> None:
        async def page(size: int, token: str) -> ListThreadsResponse:
            return await session.stubs.threads.ListThreads(
                ListThreadsRequest(page_size=size, page_token=token, state=state, title_contains=title, labels=marks)
            )

        found = await collect(page, "threads", most=limit)
        session.screen.result(found, lambda: thread_list(found.threads))

    perform(context, show)


def show_thread(
    context: typer.Context,
    thread_id: ThreadArgument,
    at: Annotated[int, typer.Option("--at", min=0, metavar="SEQUENCE", help="As it was at this fact.")] = 0,
    messages: Annotated[int, typer.Option("--messages", min=0, max=100, help="Newest messages to show.")] = 20,
) -> None:
    """Show a thread: its settings, its newest messages, and what it waits for."""
    from heddle.runtime.v1.agent_runtime_pb2 import GetSnapshotRequest
    from heddle_cli.display.blocks import blocks_of
    from heddle_cli.display.resources import thread_sheet
    from heddle_cli.session import Session, perform
    from heddle_client.transcript import Transcript

    async def show(session: Session) -> None:
        request = GetSnapshotRequest(thread_id=thread_id, at_sequence=at, message_window=messages)
        snapshot = (await session.runtime.get_snapshot(request)).snapshot
        session.screen.result(
            snapshot,
            lambda: [
                thread_sheet(snapshot.thread),
                "",
                *(block.text for block in blocks_of(Transcript.of_snapshot(snapshot))),
            ],
        )

    perform(context, show)


def rename_thread(
    context: typer.Context,
    thread_id: ThreadArgument,
    title: Annotated[str, typer.Argument(metavar="TITLE", help="Its new title.")],
) -> None:
    """Give a thread another title."""
    from heddle.runtime.v1.thread_pb2 import ThreadSettings

    _update(context, thread_id, ThreadSettings(title=title), "title")


def pin_thread(
    context: typer.Context,
    thread_id: ThreadArgument,
    off: Annotated[bool, typer.Option("--off", help="Unpin it instead.")] = False,
) -> None:
    """Pin a thread to the top of lists."""
    from heddle.runtime.v1.thread_pb2 import ThreadSettings

    _update(context, thread_id, ThreadSettings(pinned=not off), "pinned")


def archive_thread(context: typer.Context, thread_id: ThreadArgument) -> None:
    """Make a thread refuse turns."""
    from heddle.runtime.v1.thread_service_pb2 import ArchiveThreadRequest
    from heddle_cli.display.resources import thread_sheet
    from heddle_cli.session import Session, perform

    async def archive(session: Session) -> None:
        request = ArchiveThreadRequest(request_id=session.new_request_id(), thread_id=thread_id)
        thread = (await session.stubs.threads.ArchiveThread(request)).thread
        session.screen.result(thread, lambda: thread_sheet(thread))

    perform(context, archive)


def unarchive_thread(context: typer.Context, thread_id: ThreadArgument) -> None:
    """Make an archived thread take turns again."""
    from heddle.runtime.v1.thread_service_pb2 import UnarchiveThreadRequest
    from heddle_cli.display.resources import thread_sheet
    from heddle_cli.session import Session, perform

    async def unarchive(session: Session) -> None:
        request = UnarchiveThreadRequest(request_id=session.new_request_id(), thread_id=thread_id)
        thread = (await session.stubs.threads.UnarchiveThread(request)).thread
        session.screen.result(thread, lambda: thread_sheet(thread))

    perform(context, unarchive)


def delete_thread(
    context: typer.Context,
    thread_id: ThreadArgument,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Stop what runs in a thread, and remove it with all its facts."""
    from heddle.runtime.v1.thread_service_pb2 import DeleteThreadRequest
    from heddle_cli.session import Session, perform

    if not yes:
        typer.confirm(f"Remove thread {thread_id} and everything in it, for good?", abort=True, err=True)

    async def delete(session: Session) -> None:
        request = DeleteThreadRequest(request_id=session.new_request_id(), thread_id=thread_id)
        gone = await session.stubs.threads.DeleteThread(request)
        session.screen.result(
            gone,
            lambda: (
                f"thread {thread_id} is removed; it had {gone.last_sequence} facts, the last with hash "
                f"{gone.last_hash.hex()}"
            ),
        )

    perform(context, delete)


def fork_thread(
    context: typer.Context,
    thread_id: ThreadArgument,
    at: Annotated[int, typer.Option("--at", min=0, metavar="SEQUENCE", help="Up to here; the end of a run.")] = 0,
    title: Annotated[str, typer.Option("--title", help="Title of the fork.")] = "",
    new_id: Annotated[str, typer.Option("--id", help="Id of the fork; minted if left out.")] = "",
) -> None:
    """Make a new thread that begins with the history of another."""
    from heddle.runtime.v1.thread_service_pb2 import ForkThreadRequest
    from heddle_cli.display.resources import thread_sheet
    from heddle_cli.session import Session, perform

    async def fork(session: Session) -> None:
        request = ForkThreadRequest(
            request_id=session.new_request_id(),
            source_thread_id=thread_id,
            at_sequence=at,
            thread_id=new_id,
            title=title,
        )
        thread = (await session.stubs.threads.ForkThread(request)).thread
        session.screen.result(thread, lambda: thread_sheet(thread))

    perform(context, fork)


def _update(context: typer.Context, thread_id: str, settings: "ThreadSettings", field: str) -> None:
    from google.protobuf.field_mask_pb2 import FieldMask

    from heddle.runtime.v1.thread_service_pb2 import UpdateThreadRequest
    from heddle_cli.display.resources import thread_sheet
    from heddle_cli.session import perform

    async def update(session: "Session") -> None:
        request = UpdateThreadRequest(
            request_id=session.new_request_id(),
            thread_id=thread_id,
            settings=settings,
            update_mask=FieldMask(paths=[field]),
        )
        thread = (await session.stubs.threads.UpdateThread(request)).thread
        session.screen.result(thread, lambda: thread_sheet(thread))

    perform(context, update)


COMMANDS = {
    "list": list_threads,
    "show": show_thread,
    "rename": rename_thread,
    "pin": pin_thread,
    "archive": archive_thread,
    "unarchive": unarchive_thread,
    "delete": delete_thread,
    "fork": fork_thread,
}
