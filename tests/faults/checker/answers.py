"""What was said to clients against what the log holds: P1, P7, P14 and P17."""

from collections import defaultdict
from collections.abc import Iterator

from tests.faults.checker import rows
from tests.faults.checker.evidence import Evidence, Line, Violation

_STEERED = 3
_STARTS = {"StartTurn": "StartTurn", "StartStreamingTurn": "StartTurn", "RetryRun": "RetryRun"}
"""Methods that start runs, with the method under which their request ids are known."""

_NOT_FOUND = ("INPUT_NOT_FOUND", "RUN_NOT_FOUND", "THREAD_NOT_FOUND")
_LATE = ("INPUT_ALREADY_RESOLVED", "INPUT_EXPIRED")


def p1_turns(evidence: Evidence) -> Iterator[Violation]:
    """A turn that was acknowledged is in the log, as the run or on the run that the client was told."""
    requests = {
        (event.tenant, event.run_id, event.text(1))
        for event in evidence.tables.events
        if event.kind in (rows.TURN_REQUESTED, rows.TURN_STEERED)
    }
    for call in evidence.answered(*_STARTS):
        run = evidence.runs.get((call["tenant"], call["said"]["run_id"]))
        if run is None or (call["tenant"], run.run_id, call["asked"]["request_id"]) not in requests:
            yield Violation("P1", f"{_name(call)} was acknowledged, and the log does not have it")


def p1_cancels(evidence: Evidence) -> Iterator[Violation]:
    """A cancel that was acknowledged stands in the log where its client was told that it stands."""
    for call in evidence.answered("CancelRun"):
        for run_id, thread_id, sequence in call["said"]["cancelled"]:
            event = evidence.by_place.get((call["tenant"], thread_id, sequence))
            if sequence and (event is None or event.kind != rows.RUN_CANCEL_REQUESTED or event.run_id != run_id):
                yield Violation("P1", f"{_name(call)}: the cancel of {run_id} is not at {thread_id}:{sequence}")


def p1_answers(evidence: Evidence) -> Iterator[Violation]:
    """An answer that was acknowledged is in the log."""
    resolved = {(event.tenant, event.text(1)) for event in evidence.tables.events if event.kind == rows.INPUT_RESOLVED}
    for call in evidence.answered("ResolveInput"):
        if "answer" in call["asked"] and (call["tenant"], call["asked"]["input_id"]) not in resolved:
            yield Violation("P1", f"{_name(call)} was acknowledged, and the log does not have it")


def p7_one_run(evidence: Evidence) -> Iterator[Violation]:
    """One request id and body is one run, whoever answers, before and after whatever happened."""
    for key, calls in _by_request(evidence).items():
        answered = [call for call in calls if call["outcome"] == "ok"]
        runs = {call["said"]["run_id"] for call in answered}
        if len(runs) > 1:
            yield Violation("P7", f"{key} was told {sorted(runs)}")
        bodies = {call["asked"]["body"] for call in answered}
        if len(bodies) > 1:
            yield Violation("P7", f"{key} was acknowledged with {len(bodies)} different bodies")
        for call in calls:
            before = [each for each in answered if each["at"] < call["began"]]
            same = before and call["asked"]["body"] == before[0]["asked"]["body"]
            if before and _is_deleted(evidence, before[0], call):
                continue
            if same and call["outcome"] == "refused":
                yield Violation("P7", f"{_name(call)} was acknowledged before, and is refused: {call['reason']}")
            if before and not same and call["outcome"] == "refused" and call["reason"] != "REQUEST_ID_REUSED":
                yield Violation("P7", f"{_name(call)} has another body than before, and is told {call['reason']}")


def p7_one_effect(evidence: Evidence) -> Iterator[Violation]:
    """A request id takes effect once in the log."""
    told: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for event in evidence.tables.events:
        if event.kind in (rows.TURN_REQUESTED, rows.TURN_STEERED):
            actor = event.body.get(4, [b""])[-1]
            told[event.tenant, str(actor), event.text(1)].append(event.place)
    for key, places in told.items():
        if len(places) > 1:
            yield Violation("P7", f"request {key[2]} of {key[0]} took effect at {places}")


def p14_one_winner(evidence: Evidence) -> Iterator[Violation]:
    """Of all answers to an input one wins; its exact repeat succeeds again, and every other is refused."""
    by_input: dict[tuple[str, str], list[Line]] = defaultdict(list)
    for call in evidence.calls:
        if call["method"] == "ResolveInput" and "answer" in call["asked"]:
            by_input[call["tenant"], call["asked"]["input_id"]].append(call)
    for key, calls in by_input.items():
        won = {(call["principal"], call["asked"]["answer"]) for call in calls if call["outcome"] == "ok"}
        if len(won) > 1:
            yield Violation("P14", f"{key}: {len(won)} different answers were acknowledged")
        for call in calls:
            repeats = any(
                each["outcome"] == "ok" and each["at"] < call["began"] and _answer(each) == _answer(call)
                for each in calls
            )
            if call["reason"] in _NOT_FOUND and _is_gone(evidence, key):
                continue
            if repeats and call["outcome"] == "refused":
                yield Violation("P14", f"{_name(call)} repeats the winning answer, and is refused: {call['reason']}")
            late = any(each["outcome"] == "ok" and each["at"] < call["began"] for each in calls)
            other = call["outcome"] == "refused" and _answer(call) not in won
            if late and other and call["reason"] not in _LATE:
                yield Violation("P14", f"{_name(call)} comes late, and is told {call['reason']}")


def p17_strangers(evidence: Evidence) -> Iterator[Violation]:
    """What belongs to another tenant is answered as what does not exist, to the byte."""
    owners: dict[str, str] = {run.run_id: run.tenant for run in evidence.tables.runs}
    owners.update({thread.thread_id: thread.tenant for thread in evidence.tables.threads})
    told: dict[str, set[tuple[str, str, str]]] = defaultdict(set)
    for call in evidence.calls:
        names = [call["asked"].get("run_id"), call["asked"].get("thread_id")]
        foreign = [name for name in names if name and owners.get(name, call["tenant"]) != call["tenant"]]
        unknown = [name for name in names if name and name.endswith("none")]
        if foreign and call["outcome"] == "ok" and call["method"] != "StartTurn":
            yield Violation("P17", f"{_name(call)} of {call['tenant']} was answered about {foreign[0]}")
        if (foreign or unknown) and call["outcome"] == "refused":
            told[call["method"]].add((call["code"], call["reason"], call["details"]))
    for method, answers in told.items():
        if len(answers) > 1:
            yield Violation("P17", f"{method} answers a foreign id and an unknown one differently: {sorted(answers)}")


def _by_request(evidence: Evidence) -> dict[tuple[str, str, str, str], list[Line]]:
    found: dict[tuple[str, str, str, str], list[Line]] = defaultdict(list)
    for call in evidence.calls:
        method = _STARTS.get(call["method"])
        if method:
            found[call["tenant"], call["principal"], method, call["asked"]["request_id"]].append(call)
    return found


def _is_gone(evidence: Evidence, asked: tuple[str, str]) -> bool:
    """Whether an input is gone with its thread."""
    of_run = next((each.run_id for each in evidence.tables.inputs if (each.tenant, each.input_id) == asked), "")
    run = evidence.runs.get((asked[0], of_run))
    return run is not None and (run.tenant, run.thread_id) in evidence.deleted


def _is_deleted(evidence: Evidence, told: Line, repeat: Line) -> bool:
    """Whether the run that was told is gone with its thread, and its client hears so: a run does not live for ever."""
    asked = evidence.deletions_asked.get((told["tenant"], told["said"].get("thread_id", "")), float("inf"))
    return asked < repeat["at"] and repeat["reason"] in _NOT_FOUND


def _answer(call: Line) -> tuple[str, str]:
    return call["principal"], call["asked"]["answer"]


def _name(call: Line) -> str:
    asked = call["asked"]
    return f"{call['method']} {asked.get('request_id', '')} {asked.get('run_id', asked.get('thread_id', ''))}"
