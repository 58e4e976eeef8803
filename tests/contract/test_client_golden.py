"""Our own client on the recordings that authors of other clients use: what it shows, and how it goes on."""

import asyncio
import json
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from google.protobuf.json_format import ParseDict

from heddle.runtime.v1.agent_runtime_pb2 import StartStreamingTurnRequest
from heddle.runtime.v1.run_pb2 import RunState
from heddle.runtime.v1.stream_pb2 import DeltaBatch, EventBatch, StreamFrame
from heddle.runtime.v1.thread_pb2 import MessageRole
from heddle_client.persistence import Persistence
from heddle_client.port import AgentRuntime, FrameStream
from heddle_client.resume import follow_turn
from heddle_client.stream_progress import StreamProgress
from heddle_client.transcript import Transcript
from heddle_core.clock import ManualClock
from heddle_core.errors import ServiceUnreachable
from heddle_core.runtime_errors import StreamRotated
from tests.kit.stream_recordings import FOLDER, as_text, recordings

FILES = sorted(FOLDER.glob("*.jsonl"))


def lines_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def shown_by(transcript: Transcript) -> dict[str, str]:
    agent = MessageRole.MESSAGE_ROLE_ASSISTANT
    return {line.message_id: line.text for line in transcript.shown if line.role == agent and line.text}


def sifted(progress: StreamProgress, frame: StreamFrame) -> StreamFrame:
    match frame.WhichOneof("frame"):
        case "events":
            new = [event for event in frame.events.events if progress.take(event)]
            return StreamFrame(events=EventBatch(events=new))
        case "deltas":
            return StreamFrame(deltas=DeltaBatch(deltas=list(progress.new_words(frame.deltas.deltas))))
        case _:
            return frame


class Recorded:
    """A runtime that says what a recording has, to whoever asks as its rules say."""

    def __init__(self, lines: list[dict[str, Any]]) -> None:
        self._lines = lines[1:]
        self.connections = 0
        self.last_sequence = int(self._lines[0]["opens"].get("afterSequence", "0"))

    async def stream_turn(self, request: StartStreamingTurnRequest) -> FrameStream:
        opening = self._lines.pop(0)["opens"]
        given = request.after_sequence
        assert request.request_id == "r1" and request.HasField("after_sequence") == bool(opening)
        assert given == self.last_sequence, "after the last sequence that it has"
        self.connections += 1
        while "frame" in self._lines[0]:
            frame = ParseDict(self._lines.pop(0)["frame"], StreamFrame())
            self.last_sequence = max([self.last_sequence, *(event.sequence for event in frame.events.events)])
            yield frame
        end = self._lines.pop(0)["ends"]
        match (end["status"], end.get("reason", "")):
            case ("OK", _):
                return
            case (_, "STREAM_ROTATED"):
                raise StreamRotated(given)
            case _:
                raise ServiceUnreachable("runtime", "the connection broke")

    @property
    def is_told(self) -> bool:
        return "final" in self._lines[0]


async def no_pause(_seconds: float) -> None:
    """What a reader waits between two attempts: nothing here, but others have their turn."""
    await asyncio.sleep(0)


AT_ONCE = Persistence(ManualClock(), lambda: 0.0, no_pause, give_up_after=timedelta(hours=1))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
async def test_our_client_goes_on_as_the_recording_does_and_shows_the_same_words_in_the_same_order(file: Path) -> None:
    lines = lines_of(file)
    runtime, transcript = Recorded(lines), Transcript()
    shown: list[dict[str, str]] = [{}]
    while not runtime.is_told:  # a run that waited is joined again, by whoever has answered
        request = StartStreamingTurnRequest(request_id="r1", after_sequence=runtime.last_sequence or None)
        frames = follow_turn(cast("AgentRuntime", runtime), request, persistence=AT_ONCE)
        async with asyncio.timeout(10), aclosing(frames):
            async for frame in frames:
                transcript = transcript.after(frame)
                shown.append(shown_by(transcript))
    recorded: list[dict[str, str]] = [{}, *(line["shown"] for line in lines if "frame" in line)]
    assert without_repeats(shown) == without_repeats(recorded)
    assert shown[-1] == lines[-1]["final"]["shown"]
    assert runtime.connections == sum("opens" in line for line in lines)


def without_repeats(states: list[dict[str, str]]) -> list[dict[str, str]]:
    return [state for place, state in enumerate(states) if place == 0 or state != states[place - 1]]


def test_the_files_are_those_that_the_builder_writes() -> None:
    assert {file.name: file.read_text(encoding="utf-8") for file in FILES} == {
        f"{each.name}.jsonl": as_text(each) for each in recordings()
    }


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
@pytest.mark.parametrize("sifts", [False, True], ids=["as it came", "sifted"])
def test_the_screen_shows_what_the_recording_says_after_each_frame(file: Path, sifts: bool) -> None:
    transcript, progress = Transcript(), StreamProgress(sequence=0, contiguous=False)
    frames = 0
    for line in lines_of(file):
        if "frame" in line:
            frame = ParseDict(line["frame"], StreamFrame())
            transcript = transcript.after(sifted(progress, frame) if sifts else frame)
            assert shown_by(transcript) == line["shown"]
            frames += 1
        if "final" in line:
            assert shown_by(transcript) == line["final"]["shown"]
            states = [RunState.Name(run.state) for run in transcript.runs.values()]
            assert states == [line["final"]["runState"]]
            return
    raise AssertionError(f"{file.name} has no final line; it has {frames} frames")


def test_the_page_for_authors_of_clients_names_every_file() -> None:
    page = (Path(__file__).parents[2] / "docs" / "contract" / "stream-recordings.md").read_text(encoding="utf-8")
    named = {line.split("`")[1] for line in page.partition("## The files")[2].splitlines() if line.startswith("| `")}
    assert named == {file.stem for file in FILES}


def test_every_kind_of_end_is_recorded() -> None:
    ended = [line["ends"] for file in FILES for line in lines_of(file) if "ends" in line]
    ends = {tuple(each[key] for key in ("status", "reason") if key in each) for each in ended}
    assert ends == {("OK",), ("UNAVAILABLE",), ("UNAVAILABLE", "STREAM_ROTATED")}
