"""Our own transcript, and the resuming stream's sifting, on the recordings that authors of other clients use."""

import json
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict

from heddle.runtime.v1.run_pb2 import RunState
from heddle.runtime.v1.stream_pb2 import DeltaBatch, EventBatch, StreamFrame
from heddle.runtime.v1.thread_pb2 import MessageRole
from heddle_client.stream_progress import StreamProgress
from heddle_client.transcript import Transcript
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
