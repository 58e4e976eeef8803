"""What tools, model and consumers of the broker saw: P8, P9 and P12 from the other side."""

from collections import defaultdict
from collections.abc import Iterator

from tests.faults.checker import rows, wire
from tests.faults.checker.evidence import Evidence, Key, Line, Violation
from tests.faults.checker.logs import is_repeatable
from tests.faults.checker.rows import Event

_RECONCILE = 6


def p8_effects(evidence: Evidence) -> Iterator[Violation]:
    """A tool that may not be repeated was called at most once per call; any other with the same key and arguments."""
    calls: dict[tuple[str, str, str], list[Line]] = defaultdict(list)
    for effect in evidence.ledger:
        calls[effect["tenant"], effect["run_id"], effect["call_id"]].append(effect)
    for key, effects in calls.items():
        if len(effects) > 1 and not is_repeatable(effects[0]["tool"]):
            yield Violation("P8", f"{key}: {effects[0]['tool']} took effect {len(effects)} times")
        if len({(effect["key"], effect["arguments"]) for effect in effects}) > 1:
            yield Violation("P8", f"{key}: {effects[0]['tool']} was called with different keys or arguments")


def p8_intents(evidence: Evidence) -> Iterator[Violation]:
    """No tool is called before the log says that it is: every effect has its intent, under its key and fence."""
    intents: dict[tuple[str, str, str], set[tuple[str, int]]] = defaultdict(set)
    for event in _of_kind(evidence, rows.TOOL_CALL_STARTED):
        intents[event.tenant, event.run_id, event.text(1)].add((event.text(3), event.integer(6)))
    for effect in evidence.ledger:
        key = (effect["tenant"], effect["run_id"], effect["call_id"])
        if (effect["key"], effect["fence"]) not in intents[key]:
            yield Violation("P8", f"{key}: {effect['tool']} was called with no intent on record under its fence")


def p8_no_guess(evidence: Evidence) -> Iterator[Violation]:
    """A result says what happened: OK only if it did, CANCELLED or DENIED only if it did not; or a person said so."""
    effects = {(effect["tenant"], effect["run_id"], effect["call_id"]) for effect in evidence.ledger}
    said_by_people: set[tuple[str, str, str]] = set()
    for event in _of_kind(evidence, rows.INPUT_REQUESTED):
        asked = wire.inner(event.body, 1)
        said_by_people.add((event.tenant, event.run_id, wire.text(asked, 4)))
    tools: dict[tuple[str, str, str], str] = {
        (event.tenant, event.run_id, event.text(1)): event.text(2)
        for event in _of_kind(evidence, rows.TOOL_CALL_STARTED)
    }
    for event in _of_kind(evidence, rows.TOOL_CALL_COMPLETED):
        key = (event.tenant, event.run_id, event.text(1))
        tool, outcome = tools.get(key, ""), event.integer(2)
        if not tool.startswith("ledger/") or key in said_by_people:
            continue
        if outcome == rows.OK and key not in effects:
            yield Violation("P8", f"{event.place}: {tool} is said to have worked, and was never called")
        if outcome in (rows.STOPPED, rows.DENIED) and key in effects and not is_repeatable(tool):
            yield Violation("P8", f"{event.place}: {tool} took effect, and is said not to have")


def p9_history(evidence: Evidence) -> Iterator[Violation]:
    """No history that was sent to the model was invalid."""
    for line in evidence.model:
        yield Violation("P9", f"the model refused a history: {line['problem']}")


def p12_published(evidence: Evidence) -> Iterator[Violation]:
    """Once all is quiet, consumers have seen every committed event, and the log knows that they are published."""
    if not any(line["kind"] == "consumer" for line in evidence.broker):
        return
    seen = {line["hash"] for line in _messages(evidence)}  # a hash stands for one event of one thread
    missing: dict[tuple[str, str], list[int]] = defaultdict(list)
    for event in evidence.tables.events:
        key = (event.tenant, event.thread_id)
        removed = event.sequence < _removed_before(evidence, key) or key in evidence.deleted
        if not removed and event.hash.hex() not in seen:
            missing[key].append(event.sequence)
    for key, sequences in missing.items():
        yield Violation("P12", f"{key}: consumers never saw {sequences}")
    told = {(line["tenant"], line["thread_id"]) for line in evidence.broker if line["kind"] == "deletion"}
    for key in evidence.deleted - told:
        yield Violation("P12", f"{key}: consumers were never told of its deletion")
    for thread in evidence.tables.threads:
        if not thread.gone and thread.published_sequence != thread.last_sequence:
            at = f"{thread.published_sequence} of {thread.last_sequence}"
            yield Violation("P12", f"{thread.thread_id}: published up to {at}, long after all was quiet")


def p12_order(evidence: Evidence) -> Iterator[Violation]:
    """A consumer that drops what it has seen meets a thread's events in order, without a gap.

    Two gaps are as it should be, and are filled from the log. What stood in front of a redaction is removed from the
    stream, since it holds the words: a consumer that comes late, or anew, begins at the redaction; behind it nothing
    may be missing. And with a new epoch, after a restore, a thread goes on behind what was published before the copy.
    """
    last: dict[tuple[str, str], tuple[int, int]] = defaultdict(lambda: (0, 0))
    for line in _messages(evidence):
        key, place = (line["tenant"], line["thread_id"]), (int(line["epoch"]), line["sequence"])
        epoch, sequence = last[key]
        if place <= last[key]:
            continue
        gap = place[1] != sequence + 1 and (epoch == place[0] or not epoch)
        if gap and place[1] > _removed_before(evidence, key) and key not in evidence.deleted:
            yield Violation("P12", f"{key}: {place[1]} came behind {sequence}")
        last[key] = place


def p12_true(evidence: Evidence) -> Iterator[Violation]:
    """No consumer ever saw an event that the log lacks, or has otherwise; a log that is no more has its own epoch."""
    newest = max((int(line["epoch"]) for line in _messages(evidence)), default=0)
    for line in _messages(evidence):
        if int(line["epoch"]) < newest:
            continue
        event = evidence.by_place.get((line["tenant"], line["thread_id"], line["sequence"]))
        where = f"{line['tenant']}/{line['thread_id']}:{line['sequence']}"
        if event is None:
            yield Violation("P12", f"{where} was published, and the log lacks it")
        elif event.hash.hex() != line["hash"]:
            yield Violation("P12", f"{where} was published with another hash")


def _removed_before(evidence: Evidence, key: Key) -> int:
    """The sequence of a thread's last redaction: the stream may have lost what stands in front of it."""
    return evidence.last_redactions.get(key, 0)


def _messages(evidence: Evidence) -> Iterator[Line]:
    return (line for line in evidence.broker if line["kind"] == "message")


def _of_kind(evidence: Evidence, kind: int) -> Iterator[Event]:
    return (event for event in evidence.tables.events if event.kind == kind)
