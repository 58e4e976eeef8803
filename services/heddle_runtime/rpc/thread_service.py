"""ThreadService as gRPC sees it: decode, hand to the facade, encode. Nothing is decided here."""

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from dataclasses import fields

from google.protobuf.field_mask_pb2 import FieldMask

from heddle.runtime.v1 import thread_pb2
from heddle.runtime.v1 import thread_service_pb2 as pb
from heddle_core.errors import InvalidField, invalid
from heddle_core.faults import Violation
from heddle_core.ids import MessageId, RunId, ThreadId
from heddle_core.values import value
from heddle_grpc.authorization import Rule
from heddle_grpc.calls import Context
from heddle_grpc.masks import fields_named, text_within
from heddle_grpc.paging import ANSWER_BYTES, DEFAULT_SIZE, order_asked
from heddle_grpc.requests import patience
from heddle_runtime.codec.codec import MAPPING, event_message
from heddle_runtime.codec.cuts import cut
from heddle_runtime.codec.views import message_message, thread_message
from heddle_runtime.facade.commands import ForkThread, Message, RedactMessage, UpdateThread
from heddle_runtime.facade.thread_commands import (
    ArchiveThread,
    ArchiveThreads,
    DeleteThread,
    ListMessages,
    ListThreads,
    ThreadOrder,
)
from heddle_runtime.facade.threads import Threads
from heddle_runtime.rpc.paging import page_asked, page_given
from heddle_runtime.rpc.requests import caller, request_key
from heddle_runtime.rpc.scopes import READ, RUN
from heddle_runtime.rpc.watching import Watching
from heddle_runtime.threads.settings import Thread, ThreadActivity, ThreadSettings, ThreadStatus

NAME = "heddle.runtime.v1.ThreadService"

RULES: Mapping[str, Rule] = {
    "CreateThread": RUN,
    "GetThread": READ,
    "ListThreads": READ,
    "UpdateThread": RUN,
    "ArchiveThread": RUN,
    "UnarchiveThread": RUN,
    "BatchArchiveThreads": RUN,
    "ForkThread": RUN,
    "DeleteThread": RUN,
    "ListMessages": READ,
    "ListEvents": READ,
    "WatchThread": READ,
    "WatchThreads": READ,
    "RedactMessage": RUN,
    "VerifyThread": READ,
}
"""Which scope each RPC asks for."""

MOST_TITLE = 256
MOST_INSTRUCTIONS = 32_000
MOST_CONTEXT = 65_536
"""Characters and bytes of a thread's settings (contract: ThreadSettings)."""

_SETTINGS = tuple(field.name for field in fields(ThreadSettings))


@value
class ThreadServicer:
    """Conversations."""

    threads: Threads
    watching: Watching

    async def CreateThread(self, request: pb.CreateThreadRequest, context: Context) -> pb.CreateThreadResponse:
        """Make a thread."""
        settings = _settings(request.settings, _SETTINGS)
        key = request_key("CreateThread", request)
        thread = await self.threads.create(caller(context), key, ThreadId(request.thread_id), settings)
        return pb.CreateThreadResponse(thread=thread_message(thread))

    async def GetThread(self, request: pb.GetThreadRequest, context: Context) -> pb.GetThreadResponse:
        """A thread."""
        thread = await self.threads.source.get_thread(caller(context).tenant, ThreadId(request.thread_id))
        return pb.GetThreadResponse(thread=thread_message(thread))

    async def ListThreads(self, request: pb.ListThreadsRequest, context: Context) -> pb.ListThreadsResponse:
        """A page of threads."""
        tenant = caller(context).tenant
        command = ListThreads(
            tenant=tenant,
            page=page_asked(tenant, request),
            order=ThreadOrder(order_asked(request.order_by, [order.value for order in ThreadOrder])),
            status=ThreadStatus(request.state) if request.state else ThreadStatus.ACTIVE,
            title_contains=request.title_contains,
            labels=dict(request.labels),
            activity=ThreadActivity(request.activity) if request.activity else None,
        )
        listing = await self.threads.source.list_threads(command)
        page = page_given(tenant, request, listing, thread_message, _thread_reference)
        return pb.ListThreadsResponse(threads=page.messages, next_page_token=page.next_page_token)

    async def UpdateThread(self, request: pb.UpdateThreadRequest, context: Context) -> pb.UpdateThreadResponse:
        """Change settings."""
        named = _mask(request.update_mask)
        if request.context_version < 0:
            raise invalid("context_version", "zero for any, or the version that was read")
        command = UpdateThread(
            caller=caller(context),
            key=request_key("UpdateThread", request),
            thread_id=ThreadId(request.thread_id),
            settings=_settings(request.settings, named),
            fields=named,
            etag=request.etag,
            context_version=request.context_version,
            validate_only=request.validate_only,
        )
        return pb.UpdateThreadResponse(thread=thread_message(await self.threads.update(command)))

    async def ArchiveThread(self, request: pb.ArchiveThreadRequest, context: Context) -> pb.ArchiveThreadResponse:
        """Have a thread refuse turns."""
        key = request_key("ArchiveThread", request)
        command = ArchiveThread(caller(context), key, ThreadId(request.thread_id), archived=True)
        thread = await self.threads.source.archive_thread(command)
        return pb.ArchiveThreadResponse(thread=thread_message(thread))

    async def UnarchiveThread(self, request: pb.UnarchiveThreadRequest, context: Context) -> pb.UnarchiveThreadResponse:
        """Have a thread take turns again."""
        key = request_key("UnarchiveThread", request)
        command = ArchiveThread(caller(context), key, ThreadId(request.thread_id), archived=False)
        thread = await self.threads.source.archive_thread(command)
        return pb.UnarchiveThreadResponse(thread=thread_message(thread))

    async def BatchArchiveThreads(
        self, request: pb.BatchArchiveThreadsRequest, context: Context
    ) -> pb.BatchArchiveThreadsResponse:
        """Archive many threads."""
        if len(request.thread_ids) > 1_000:
            raise invalid("thread_ids", f"at most 1,000; these are {len(request.thread_ids)}")
        named = tuple(ThreadId(each) for each in request.thread_ids)
        key = request_key("BatchArchiveThreads", request)
        done = await self.threads.archive_many(ArchiveThreads(caller(context), key, named))
        return pb.BatchArchiveThreadsResponse(archived_thread_ids=done.archived, unknown_thread_ids=done.unknown)

    async def ForkThread(self, request: pb.ForkThreadRequest, context: Context) -> pb.ForkThreadResponse:
        """Make a thread that begins with another's history."""
        if request.at_sequence < 0:
            raise invalid("at_sequence", "zero for the end of the last finished run, or the sequence of a run's end")
        text_within("title", request.title, MOST_TITLE)
        command = ForkThread(
            caller=caller(context),
            key=request_key("ForkThread", request),
            source_thread_id=ThreadId(request.source_thread_id),
            at_sequence=request.at_sequence,
            thread_id=ThreadId(request.thread_id) or self.threads.new_id(),
            title=request.title,
        )
        return pb.ForkThreadResponse(thread=thread_message(await self.threads.fork(command)))

    async def DeleteThread(self, request: pb.DeleteThreadRequest, context: Context) -> pb.DeleteThreadResponse:
        """Remove a thread."""
        key = request_key("DeleteThread", request)
        done = await self.threads.delete(DeleteThread(caller(context), key, ThreadId(request.thread_id)))
        return pb.DeleteThreadResponse(last_sequence=done.last_sequence, last_hash=done.last_hash)

    async def ListMessages(self, request: pb.ListMessagesRequest, context: Context) -> pb.ListMessagesResponse:
        """A page of messages, newest first."""
        if request.at_sequence < 0:
            raise invalid("at_sequence", "zero for now, or a sequence from 1")
        tenant = caller(context).tenant
        command = ListMessages(
            tenant=tenant,
            thread_id=ThreadId(request.thread_id),
            page=page_asked(tenant, request),
            at_sequence=request.at_sequence,
            include_dropped=request.include_dropped,
        )
        listing = await self.threads.source.list_messages(command)
        page = page_given(tenant, request, listing, message_message, _message_reference)
        return pb.ListMessagesResponse(messages=page.messages, next_page_token=page.next_page_token)

    async def ListEvents(self, request: pb.ListEventsRequest, context: Context) -> pb.ListEventsResponse:
        """Events after a cursor; can wait for the next."""
        if request.after_sequence < 0:
            raise invalid("after_sequence", "zero for the first, or the last sequence that was seen")
        thread_id = ThreadId(request.thread_id)
        events, last = await self.threads.events(
            caller(context).tenant,
            thread_id,
            after=request.after_sequence,
            limit=request.page_size or DEFAULT_SIZE,
            run_id=RunId(request.run_id),
            wait=patience(request.wait_seconds),
        )
        response = pb.ListEventsResponse(last_sequence=last, next_after_sequence=request.after_sequence)
        size = 0
        for event in events:
            message = event_message(thread_id, event)
            cut(message, ANSWER_BYTES, f"event {event.sequence}: ask for it with include_raw")
            size += message.ByteSize() + (len(event.raw) if request.include_raw else 0)
            if response.events and size > ANSWER_BYTES:
                return response
            response.events.append(message)
            if request.include_raw:
                response.raw_payloads.append(event.raw)
            response.next_after_sequence = event.sequence
        if len(events) < (request.page_size or DEFAULT_SIZE):
            # All up to the log's end was looked at, even where a filter has left it out.
            response.next_after_sequence = max(last, response.next_after_sequence)
        return response

    async def WatchThread(self, request: pb.WatchThreadRequest, context: Context) -> AsyncGenerator[bytes]:
        """A thread from a cursor, then live."""
        tenant, thread_id = caller(context).tenant, ThreadId(request.thread_id)
        deltas = request.deltas if request.HasField("deltas") else True
        async with aclosing(self.watching.thread(tenant, thread_id, request.after_sequence, deltas=deltas)) as frames:
            async for frame in frames:
                yield frame

    async def WatchThreads(
        self, request: pb.WatchThreadsRequest, context: Context
    ) -> AsyncGenerator[pb.WatchThreadsResponse]:
        """Many threads' latest state, then what changes."""
        size = request.page_size or DEFAULT_SIZE
        frames = self.threads.watch(caller(context).tenant, dict(request.labels), size)
        try:
            async for threads, complete in frames:
                for part, first in _fitting(threads):
                    yield pb.WatchThreadsResponse(threads=part, complete=complete and first)
        finally:
            await frames.aclose()

    async def RedactMessage(self, request: pb.RedactMessageRequest, context: Context) -> pb.RedactMessageResponse:
        """Remove the words of a message."""
        text_within("note", request.note, 1_024)
        command = RedactMessage(
            caller=caller(context),
            key=request_key("RedactMessage", request),
            thread_id=ThreadId(request.thread_id),
            message_id=MessageId(request.message_id),
            note=request.note,
        )
        done = await self.threads.source.redact_message(command)
        return pb.RedactMessageResponse(message=message_message(done.message), sequence=done.sequence)

    async def VerifyThread(self, request: pb.VerifyThreadRequest, context: Context) -> pb.VerifyThreadResponse:
        """Check a thread's log."""
        done = await self.threads.source.verify_thread(caller(context).tenant, ThreadId(request.thread_id))
        return pb.VerifyThreadResponse(
            events=done.events,
            last_sequence=done.last_sequence,
            last_hash=done.last_hash,
            snapshots=done.snapshots,
            redacted_sequences=done.redacted_sequences,
        )


def _mask(mask: FieldMask) -> tuple[str, ...]:
    return fields_named(mask, _SETTINGS, prefix="settings")


def _settings(message: thread_pb2.ThreadSettings, named: tuple[str, ...]) -> ThreadSettings:
    """Settings whose named fields keep the contract's limits. Raises InvalidField."""
    settings = MAPPING.decode(ThreadSettings, message)
    found = tuple(_violations(settings, named))
    if found:
        raise InvalidField(found)
    return settings


def _violations(settings: ThreadSettings, named: tuple[str, ...]) -> Iterator[Violation]:
    if "title" in named and len(settings.title) > MOST_TITLE:
        yield Violation("settings.title", f"at most {MOST_TITLE} characters; these are {len(settings.title)}")
    if "instructions" in named and len(settings.instructions) > MOST_INSTRUCTIONS:
        length = len(settings.instructions)
        yield Violation("settings.instructions", f"at most {MOST_INSTRUCTIONS} characters; these are {length}")
    if "context_json" in named and settings.context_json:
        if len(settings.context_json.encode()) > MOST_CONTEXT:
            yield Violation("settings.context_json", f"at most {MOST_CONTEXT} bytes of UTF-8")
        if not settings.context_json.lstrip().startswith("{"):
            yield Violation("settings.context_json", "a JSON object")


def _fitting(threads: tuple[Thread, ...]) -> Iterator[tuple[list[thread_pb2.Thread], bool]]:
    """Frames that each fit into one message, and whether it is the first; one frame for none at all."""
    part: list[thread_pb2.Thread] = []
    size, first = 0, True
    for thread in threads:
        message = thread_message(thread)
        size += message.ByteSize()
        if part and size > ANSWER_BYTES:
            yield part, first
            part, size, first = [], message.ByteSize(), False
        part.append(message)
    yield part, first


def _thread_reference(thread: Thread) -> str:
    return f"GetThread of {thread.thread_id}"


def _message_reference(message: Message) -> str:
    return f"event {message.sequence}: ask for it with ListEvents and include_raw"
