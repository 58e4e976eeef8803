"""What a redaction does to the state of its thread: the words go from every place where the fold keeps them. Pure.

It must give what folding the redacted log from its first event gives (GUARANTEES P10): a replica that has the fold in
memory only hears of the redaction, and may not keep a word of it.
"""

from collections.abc import Set
from dataclasses import replace

import heddle_runtime.threads.events as e
from heddle_core.ids import MessageId
from heddle_runtime.runs.content import Part, Text
from heddle_runtime.threads.settings import ThreadSettings
from heddle_runtime.threads.state import AgentSaid, Exchange, RunFold, ThreadFold, UserSaid

REDACTED_TEXT = "[redacted]"

REDACTED: tuple[Part, ...] = (Text(REDACTED_TEXT),)
"""What a redacted message reads as."""

_SAYING = frozenset({"turn_requested", "turn_steered", "assistant_message_completed"})
"""Events whose line in the timeline quotes a message."""


def message_redacted(state: ThreadFold, event: e.Event, payload: e.MessageRedacted) -> None:
    """Take the words away, and the summary that may tell them.

    The history counts as not summarised any more, so that the next run writes a new summary of what is left.
    """
    sequences = frozenset(payload.sequences)
    _silence(state, payload.message_id, sequences)
    if payload.title_redacted:
        state.settings = replace(state.settings, title=REDACTED_TEXT)
    if state.summary is not None and state.summary_sequence in sequences:
        state.summary = None
        state.summary_sequence = 0
        for exchange in state.history:
            exchange.summarised = False


def silence_base(state: ThreadFold, message_id: MessageId, title: str) -> frozenset[int]:
    """Take the words out of a state with which a log begins: a fork's base, or what retention has kept.

    The redaction itself is an event of that log, and comes later. So the summary stays, without its words, until then.
    `title` is what an automatic title says of them. Returns the sequences of the state's own events that held them.
    """
    saying = [each for each in _exchanges(state) if any(said.message_id == message_id for said in each.messages)]
    if not saying:
        return frozenset()
    held = _silence(state, message_id, frozenset())
    if state.summary is not None and any(exchange.summarised for exchange in saying):
        state.summary = silent_summary(state.summary)
        held |= {state.summary_sequence}
    silent = without_title(state.settings, title)
    if silent is not state.settings:
        state.settings = silent
        held |= {state.title_sequence}
    return held - {0}


def without_title(settings: ThreadSettings, title: str) -> ThreadSettings:
    """Settings that do not say `title`; an empty one says nothing."""
    return replace(settings, title=REDACTED_TEXT) if title and settings.title == title else settings


def silent_summary(summary: e.ContextCompacted) -> e.ContextCompacted:
    """A summary without its words: it reaches as far as before, and tells nothing."""
    return replace(
        summary, artifact=REDACTED_TEXT, requirements=REDACTED_TEXT, decisions=REDACTED_TEXT, log=REDACTED_TEXT
    )


def _silence(state: ThreadFold, message_id: MessageId, sequences: Set[int]) -> frozenset[int]:
    """Take the words of a message out of history, runs and timeline; the sequences of this log that held them."""
    held = frozenset(sequences) | {
        entry.sequence
        for exchange in _exchanges(state)
        if not exchange.inherited
        for entry in exchange.messages
        if entry.message_id == message_id
    }
    for exchange in _exchanges(state):
        exchange.entries = [
            replace(entry, parts=REDACTED, redacted=True)
            if isinstance(entry, UserSaid | AgentSaid) and entry.message_id == message_id
            else entry
            for entry in exchange.entries
        ]
    for run in _runs(state):
        if run.message_id == message_id:
            run.turn = replace(run.turn, content=REDACTED)
        if run.result and run.result.message_id == message_id:
            run.result = replace(run.result, parts=REDACTED, structured_json="")
    state.timeline = [
        replace(line, summary=REDACTED_TEXT) if line.sequence in held and line.event in _SAYING else line
        for line in state.timeline
    ]
    return held


def _runs(state: ThreadFold) -> list[RunFold]:
    return [*state.runs.values(), *([state.last_run] if state.last_run else [])]


def _exchanges(state: ThreadFold) -> list[Exchange]:
    return [*state.history, *(run.exchange for run in _runs(state))]
