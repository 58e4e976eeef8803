"""What streams showed: every event once, in order, up to what they said; and the right words (P11, P18)."""

from collections.abc import Iterator

from tests.faults.checker import rows, wire
from tests.faults.checker.evidence import Evidence, Stream, Violation
from tests.faults.checker.rows import Event

_TEXT = 1
_SETTLED = 1


def p11_order(evidence: Evidence) -> Iterator[Violation]:
    """A stream shows every event behind its cursor that it is about, once and in order, none left out."""
    for stream in evidence.streams:
        shown = [event[0] for event in stream.events]
        if not shown:
            continue
        due = [event.sequence for event in _due(evidence, stream) if event.sequence <= shown[-1]]
        if shown != due:
            yield Violation("P11", f"{stream.name} after {stream.after} showed {shown}, where {due} was due")


def p11_said(evidence: Evidence) -> Iterator[Violation]:
    """What a stream says it has shown, it has: at a checkpoint, at its closing, at its end."""
    for stream in evidence.streams:
        seen = stream.after
        due = _due(evidence, stream)
        for frame in stream.frames:
            match frame["frame"]:
                case "events":
                    seen = max(seen, frame["events"][-1][0])
                case "checkpoint" | "closing":
                    said = frame["sequence"] if frame["frame"] == "checkpoint" else frame["resume"]
                    missed = [event.sequence for event in due if seen < event.sequence <= said]
                    if missed:
                        yield Violation("P11", f"{stream.name} says that it is at {said}, and has not shown {missed}")
                case _:
                    pass


def p11_whole(evidence: Evidence) -> Iterator[Violation]:
    """A thread that is read to its end shows all that it held when the stream opened, and says that this was all."""
    for stream in evidence.streams:
        if not stream.opened.get("whole") or stream.end != "left":
            continue
        head = next((frame["head"] for frame in stream.frames if frame["frame"] == "opened"), 0)
        said = [frame["sequence"] for frame in stream.frames if frame["frame"] == "checkpoint" and frame["caught_up"]]
        if not said or said[-1] < head:
            yield Violation("P11", f"{stream.name} opened at {head} and caught up with {said or 'nothing'}")


def p11_end(evidence: Evidence) -> Iterator[Violation]:
    """A stream of a run that ends with OK has shown its end, or that it waits."""
    for stream in evidence.streams:
        if stream.end != "OK" or not stream.of_run:
            continue
        due = _due(evidence, stream)
        kinds = [event.kind for event in due]
        shown = {event[0] for event in stream.events}
        ended = [event for event in due if event.kind in (*rows.ENDS, rows.RUN_WAITING)]
        if due and not any(event.sequence in shown for event in ended):
            yield Violation("P11", f"{stream.name} ended with OK and showed neither end nor waiting: {kinds}")


def p11_resume(evidence: Evidence) -> Iterator[Violation]:
    """A stream that follows another begins where that one stopped: between them nothing is lost or doubled."""
    by_name = {stream.name: stream for stream in evidence.streams}
    for stream in evidence.streams:
        before = by_name.get(stream.opened["follows"])
        if before is None or not stream.events:
            continue
        doubled = {event[0] for event in before.events} & {event[0] for event in stream.events}
        if doubled:
            yield Violation("P11", f"{stream.name} shows {sorted(doubled)} again, which {before.name} had shown")


def p11_words(evidence: Evidence) -> Iterator[Violation]:
    """The words that a screen shows of a message grow without gap, and are the beginning of what the log says."""
    finals: dict[tuple[str, str], Event] = {
        (event.tenant, event.text(1)): event
        for event in evidence.tables.events
        if event.kind == rows.ASSISTANT_MESSAGE_COMPLETED
    }
    for stream in evidence.streams:
        shown: dict[str, bytes] = {}
        for frame in stream.frames:
            for _, message, channel, offset, words, reset, _ in frame.get("deltas", ()):
                if channel != _TEXT:
                    continue
                before = b"" if reset else shown.get(message, b"")
                if offset != len(before):
                    yield Violation("P11", f"{stream.name}: words of {message} at {offset}, {len(before)} are shown")
                shown[message] = before + words.encode()
        for message, words in shown.items():
            final = finals.get((stream.tenant, message))
            if final is None or final.redacted:
                continue
            said = "".join(wire.text(part, 1) for part in wire.inners(final.body, 2)).encode()
            if not said.startswith(words):
                yield Violation("P11", f"{stream.name} showed {words!r} of {message}, which says {said!r}")


def p11_explicit(evidence: Evidence) -> Iterator[Violation]:
    """A stream ends with OK only where it is settled; any other end names its reason."""
    for stream in evidence.streams:
        closings = [frame for frame in stream.frames if frame["frame"] == "closing"]
        settled = bool(closings) and closings[-1]["reason"] == _SETTLED
        if stream.end == "OK" and not settled:
            yield Violation("P11", f"{stream.name} ended with OK and did not say that it is settled")
        if closings and stream.frames[-1] is not closings[-1]:
            yield Violation("P11", f"{stream.name} went on after it had closed")
        if stream.end.startswith(("INTERNAL", "UNKNOWN", "DATA_LOSS")):
            yield Violation("P11", f"{stream.name} ended with {stream.end}")


def p18_slow_readers(evidence: Evidence) -> Iterator[Violation]:
    """A reader that stalled is cut with its cursor, and the server's memory has not grown by what it did not read."""
    for line in evidence.supervisor:
        if line["kind"] != "slow_reader":
            continue
        ends = {stream.name: stream for stream in evidence.streams}
        stream = ends[line["stream"]]
        reasons = [frame["reason"] for frame in stream.frames if frame["frame"] == "closing"]
        if line["must_be_cut"] and "SLOW_READER" not in stream.end:
            yield Violation("P18", f"{stream.name} stalled and ended with {stream.end}, closings {reasons}")
        if line["grown_megabytes"] > line["may_grow_megabytes"]:
            grown, may = line["grown_megabytes"], line["may_grow_megabytes"]
            yield Violation("P18", f"while {stream.name} stalled the server grew by {grown:.0f} MiB of {may:.0f}")


def _due(evidence: Evidence, stream: Stream) -> list[Event]:
    """The events that the stream is about, behind its cursor."""
    log = evidence.logs.get((stream.tenant, stream.thread_id), [])
    if not stream.of_run:
        return [event for event in log if event.sequence > stream.after]
    run_id = next((event[2] for event in stream.events), "")
    if not run_id:
        return []
    return [event for event in log if event.run_id == run_id and event.sequence > stream.after]
