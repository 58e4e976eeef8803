"""P19: what a store in trouble may cost. Nothing is acknowledged that cannot be kept, and nobody restarts anything."""

from collections.abc import Iterator

from tests.faults.checker.evidence import Evidence, Line, Stream, Violation

_COMMIT = ("StartTurn", "RetryRun", "ResolveInput", "ForkThread")
"""Calls that are acknowledged only once they are committed, when they are made for the first time."""
_STARTS = ("StartTurn", "StartStreamingTurn")

Moments = tuple[float, float]
"""From when, until when; in seconds since 1970."""
Effect = tuple[str, ...]
"""What a call brings about, however often it is made: tenant, principal, and what names it."""

_MICROS = 1_000_000
_NEVER = (float("inf"), float("-inf"))


def p19_recovers(evidence: Evidence) -> Iterator[Violation]:
    """A store that was in trouble is used again, with nobody having restarted a runtime."""
    for line in evidence.supervisor:
        if line["kind"] == "outage_over" and line.get("must_recover") and not line["recovered"]:
            yield Violation("P19", f"{line['what']}: no turn was accepted {line['within']:.0f} s after it was over")


def p19_says_nothing(evidence: Evidence) -> Iterator[Violation]:
    """What is asked for while the store can commit nothing is not acknowledged before it can again.

    Only what is asked for the first time then: a repeat may be answered from what was committed before, and a cancel
    may tell of one that the log had already.
    """
    spans = gone(evidence)
    if not spans:
        return
    first = _first_asked(evidence)
    for call in evidence.answered(*_COMMIT):
        since, until = _span(spans, call["began"])
        if first[_effect(call)] >= since and call["at"] <= until:
            yield Violation("P19", f"{_name(call)} was acknowledged {call['at'] - since:.2f} s into an outage")
    for call in evidence.answered("CancelRun"):
        since, until = _span(spans, call["began"])
        if call["at"] <= until and any(_is_new(evidence, call, mark, since) for mark in call["said"]["cancelled"]):
            yield Violation("P19", f"{_name(call)} was acknowledged {call['at'] - since:.2f} s into an outage")
    for stream in evidence.streams:
        since, until = _span(spans, stream.opened["at"]) if stream.of_run else _NEVER
        if since > until or first[_effect_of_stream(stream)] < since:
            continue
        shown = min((frame["at"] for frame in stream.frames if frame["frame"] == "events"), default=float("inf"))
        if shown <= until:
            yield Violation("P19", f"{stream.name} shows events of its turn {shown - since:.2f} s into an outage")


def tried(evidence: Evidence) -> int:
    """How many calls that change something were made, and answered somehow, while the store could commit nothing."""
    spans = gone(evidence)
    changing = (call for call in evidence.calls if call["method"] in (*_COMMIT, "CancelRun"))
    return sum(call["at"] <= _span(spans, call["began"])[1] for call in changing)


def gone(evidence: Evidence) -> list[Moments]:
    """When the store could commit nothing, whoever asked: it was down, cut off, or each sync of it failed."""
    spans: list[Moments] = []
    since: float | None = None
    for line in evidence.supervisor:
        if line["kind"] == "store_gone":
            since = line["at"]
        elif line["kind"] == "store_returns" and since is not None:
            spans.append((since, line["at"]))
            since = None
    return spans


def _span(spans: list[Moments], moment: float) -> Moments:
    """The outage in which a moment lies."""
    return next((span for span in spans if span[0] <= moment <= span[1]), _NEVER)


def _first_asked(evidence: Evidence) -> dict[Effect, float]:
    """When each effect was asked for first, whatever came of it."""
    first: dict[Effect, float] = {}
    asked = [(_effect(call), call["began"]) for call in evidence.calls if call["method"] in _COMMIT]
    asked += [(_effect_of_stream(stream), stream.opened["at"]) for stream in evidence.streams if stream.of_run]
    for effect, moment in asked:
        first[effect] = min(moment, first.get(effect, moment))
    return first


def _effect(call: Line) -> Effect:
    asked = call["asked"]
    if call["method"] == "ResolveInput":
        return call["tenant"], call["principal"], "input", asked["input_id"], asked.get("answer", "")
    return call["tenant"], call["principal"], _request(call["method"]), asked["request_id"]


def _effect_of_stream(stream: Stream) -> Effect:
    opened = stream.opened
    return stream.tenant, opened["principal"], _request(opened["method"]), opened["request_id"]


def _request(method: str) -> str:
    """The method under which a request id is known."""
    return "StartTurn" if method in _STARTS else method


def _is_new(evidence: Evidence, call: Line, mark: list[str | int], since: float) -> bool:
    """Whether a cancel that was told of was not in the log when the outage began."""
    _, thread_id, sequence = mark
    event = evidence.by_place.get((call["tenant"], str(thread_id), int(sequence)))
    return bool(sequence) and (event is None or event.commit_time >= since * _MICROS)


def _name(call: Line) -> str:
    asked = call["asked"]
    return f"{call['method']} {asked.get('request_id', '')} {asked.get('run_id', asked.get('thread_id', ''))}"
