"""What the server answers about a thread, against the log: snapshots at any sequence, runs, messages, verification."""

from collections.abc import Iterable
from random import Random
from typing import Any

from google.protobuf.message import Message as Proto

from heddle.common.v1.usage_pb2 import Usage
from heddle.runtime.v1.agent_runtime_pb2 import GetSnapshotRequest
from heddle.runtime.v1.run_service_pb2 import GetRunRequest
from heddle.runtime.v1.snapshot_pb2 import RunView, ThreadSnapshot
from heddle.runtime.v1.thread_pb2 import Message
from heddle.runtime.v1.thread_service_pb2 import ListMessagesRequest, VerifyThreadRequest
from tests.kit.property_calls import Client
from tests.kit.property_fold import Fold, fold, moment
from tests.kit.property_log import Tables

_WINDOW = 100


async def check_views(client: Client, tables: Tables, random: Random, *, sequences: int, settled: bool) -> None:
    """Ask for every thread's state now and at some random sequences, and for every run; compare with the log (P10).

    What moves on since the tables were read is compared only where it is `settled`.
    """
    redacted = {
        event.payload.message_id for log in tables.logs.values() for event in log if event.kind == "message_redacted"
    }
    for thread_id, log in tables.logs.items():
        places = {len(log), *(random.randint(1, len(log)) for _ in range(sequences))}
        for sequence in sorted(places):
            expected = fold(thread_id, log[:sequence], tables.logs)
            await _check_snapshot(client, expected, redacted)
            await _check_messages(client, expected, redacted, random.choice((2, 7, 50)))
        now = fold(thread_id, log, tables.logs)
        told = await client.read("agent_runtime", "GetSnapshot", GetSnapshotRequest(thread_id=thread_id))
        assert told.snapshot.sequence >= now.sequence, f"{thread_id}: now is {told.snapshot.sequence}"
        if told.snapshot.sequence > now.sequence and not settled:
            continue
        _compare(thread_id, told.snapshot, now.snapshot(20), redacted)
        if not settled:
            continue
        verified = await client.read("threads", "VerifyThread", VerifyThreadRequest(thread_id=thread_id))
        assert (verified.last_sequence, verified.last_hash) == (now.sequence, now.hash), f"{thread_id}: {verified}"
        silent = [event.sequence for event in log if event.redacted]
        assert list(verified.redacted_sequences) == silent, f"{thread_id}: {verified}"
        await _check_runs(client, now, redacted)


async def _check_snapshot(client: Client, expected: Fold, redacted: set[str]) -> None:
    asked = GetSnapshotRequest(thread_id=expected.thread_id, at_sequence=expected.sequence, message_window=_WINDOW)
    told = await client.read("agent_runtime", "GetSnapshot", asked)
    _compare(f"{expected.thread_id}:{expected.sequence}", told.snapshot, expected.snapshot(_WINDOW), redacted)


def _compare(where: str, told: ThreadSnapshot, expected: ThreadSnapshot, redacted: set[str]) -> None:
    """Equal but for what the contract leaves to the server: etag, fold version, the timeline's words."""
    told.fold_version = 0
    told.thread.etag = ""
    for line in told.timeline:
        assert len(line.summary) <= 200, f"{where}: {line}"
        line.summary = ""
    for snapshot in (told, expected):
        for said in (*snapshot.messages, snapshot.last_assistant_message):
            _silence(said, redacted)
        views = [*snapshot.queued_runs]
        views += [getattr(snapshot, each) for each in ("active_run", "last_run") if snapshot.HasField(each)]
        for usage in (snapshot.usage, *(view.usage for view in views)):
            _round(usage)
    _same(where, told, expected)


async def _check_messages(client: Client, expected: Fold, redacted: set[str], page_size: int) -> None:
    for include_dropped in (False, True):
        told: list[Message] = []
        token = ""
        while True:
            request = ListMessagesRequest(
                thread_id=expected.thread_id,
                at_sequence=expected.sequence,
                page_size=page_size,
                page_token=token,
                include_dropped=include_dropped,
            )
            page = await client.read("threads", "ListMessages", request)
            assert len(page.messages) <= page_size
            told += page.messages
            token = page.next_page_token
            if not token:
                break
        wanted = expected.all_messages if include_dropped else expected.history
        where = f"{expected.thread_id}:{expected.sequence}, messages, dropped={include_dropped}"
        ids = [said.message_id for said in reversed(told)]
        assert ids == [said.message_id for said in wanted], f"{where}: {ids}, expected {_ids(wanted)}"
        for one, other in zip(reversed(told), wanted, strict=True):
            copy = Message()
            copy.CopyFrom(other)
            _silence(one, redacted)
            _silence(copy, redacted)
            _same(where, one, copy)


async def _check_runs(client: Client, now: Fold, redacted: set[str]) -> None:
    for run_id, expected in now.runs.items():
        run = (await client.read("runs", "GetRun", GetRunRequest(run_id=run_id))).run
        view: RunView = expected.view
        where = f"{now.thread_id}, run {run_id}"
        assert (run.run_id, run.thread_id, run.request_id) == (run_id, now.thread_id, expected.request_id), where
        assert run.cancel_sequence == view.cancel_sequence, f"{where}: cancel_sequence {run.cancel_sequence}"
        if expected.ended:
            assert run.state == view.state, f"{where}: state {run.state}, the log says {view.state}"
            assert run.end_time == moment(_end_of(now, run_id)), f"{where}: end_time {run.end_time}"
        assert run.failure == view.failure, f"{where}: failure {run.failure}"
        _round(run.usage)
        _round(view.usage)
        _same(f"{where}, usage", run.usage, view.usage)
        assert run.HasField("result") == (expected.result is not None), f"{where}: result {run.result}"
        if expected.result is not None and expected.result.message_id not in redacted:
            _same(f"{where}, result", run.result, expected.result)


def _end_of(now: Fold, run_id: str) -> int:
    ends = ("run_completed", "run_failed", "run_cancelled")
    times = [line.commit_time for line in now.timeline if line.run_id == run_id and line.event in ends]
    return times[0].seconds * 1_000_000 + times[0].nanos // 1_000


def _silence(said: Message, redacted: set[str]) -> None:
    """Of a message whose words are gone, only who said it and where is compared."""
    if said.message_id in redacted:
        said.ClearField("content")
        said.redacted = False


def _round(usage: Usage) -> None:
    """An amount of nothing is told or left out: both say that nothing was paid."""
    if not usage.cost.units and not usage.cost.nanos:
        usage.ClearField("cost")


def _same(where: str, told: Proto, expected: Proto) -> None:
    if told == expected:
        return
    names = [field.name for field in told.DESCRIPTOR.fields]
    wrong = [name for name in names if getattr(told, name) != getattr(expected, name)]
    lines = [f"{name}: told {_one_line(told, name)}; expected {_one_line(expected, name)}" for name in wrong]
    raise AssertionError(f"{where} differs: " + " | ".join(lines))


def _one_line(message: Any, name: str) -> str:
    return " ".join(str(getattr(message, name)).split())[:1500]


def _ids(messages: Iterable[Message]) -> list[str]:
    return [said.message_id for said in messages]
