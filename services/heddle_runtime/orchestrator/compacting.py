"""What leaves an agent's window is written into a summary first, so that nothing that was agreed is ever forgotten.

Four sections: the artifact as it stands, what was required, what was decided, and a log. The model writes them; where
it fails or answers badly, they are put together from the words themselves, so a summary is never empty and never late.
"""

import json
from collections.abc import Iterable, Iterator
from contextlib import aclosing
from typing import Any, cast

from heddle_core.ids import RunId, StepId
from heddle_core.values import value
from heddle_runtime.models.port import (
    FaultKind,
    ModelFault,
    ModelReply,
    ModelRequest,
    ModelUsage,
    TextPart,
    UserMessage,
)
from heddle_runtime.orchestrator.asking import FINISHES, Models, used_by_call
from heddle_runtime.orchestrator.decisions import Compact
from heddle_runtime.orchestrator.prompt import fenced, window
from heddle_runtime.orchestrator.setup import Setup
from heddle_runtime.runs.content import plain_text
from heddle_runtime.runs.run import FinishReason
from heddle_runtime.runs.stop import Stop
from heddle_runtime.threads.events import ContextCompacted, Payload, StepCompleted, ToolCallOutcome
from heddle_runtime.threads.state import AgentSaid, Called, Exchange, Returned, ThreadFold, UserSaid
from heddle_runtime.tools.schema import Schemas

SECTION_LENGTH = 6_000
"""Most characters of a section; the middle of a longer one is left out."""

TRANSCRIPT_LENGTH = 60_000
"""Most characters of the messages that the model is given to summarise, the words of each cut alike."""

_SHORTEST_CUT = 200
_QUOTE = 600
_LINE = 160
"""Characters of a user's message, and of any other line, that the fallback keeps."""

_GAP = " [...] "
_SECTIONS = ("artifact", "requirements", "decisions", "log")
_NOTHING = "(nothing yet)"

SUMMARY_SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {name: {"type": "string"} for name in _SECTIONS},
        "required": list(_SECTIONS),
        "additionalProperties": False,
    }
)
"""What the model's summary must fit."""

_INSTRUCTIONS = (
    "You keep the record of a conversation between a person and an agent. You are given the record so far and the"
    " messages that will not be shown any more. Write the whole record anew, as a JSON object with four texts:"
    " `artifact` (what is being made, as it stands now, to the letter where the letter matters), `requirements`"
    " (everything the person asked for that still holds), `decisions` (what was decided, approved or refused, and why)"
    " and `log` (what happened, in order, a line each). Keep names, numbers, dates and links exactly. Drop nothing"
    " that still matters. Answer with the JSON object alone."
)


def overdue(thread: ThreadFold, run_id: RunId, size: int) -> tuple[Exchange, ...]:
    """The exchanges that a summary must take in before a run sees a window of `size` messages; often none.

    Once something falls out of the window, half of the window is taken in with it: else every turn of a long thread
    would cost a summary.
    """
    earlier = [exchange for exchange in thread.history if exchange.run_id != run_id]
    hidden = earlier[: len(earlier) - len(window(thread.history, run_id, size))]
    if all(exchange.summarised for exchange in hidden):
        return ()
    behind = earlier[: len(earlier) - len(window(thread.history, run_id, size // 2))]
    through = through_sequence(exchange for exchange in behind if not exchange.summarised)
    return tuple(each for each in earlier if not each.summarised and each.last_sequence <= through)


def through_sequence(exchanges: Iterable[Exchange]) -> int:
    """The sequence up to which a summary of these exchanges reaches."""
    return max((exchange.last_sequence for exchange in exchanges), default=0)


def summary_request(
    old: ContextCompacted | None, exchanges: tuple[Exchange, ...], setup: Setup, fence_word: str
) -> ModelRequest:
    """The request for a new summary, of the old one and of what leaves."""
    given = fenced("the record so far", _record(old), fence_word)
    said = fenced("the messages that leave", _transcript(exchanges), fence_word)
    return ModelRequest(
        model=setup.model,
        instructions=_INSTRUCTIONS,
        messages=(UserMessage((TextPart(f"{given}\n\n{said}"),)),),
        response_schema_json=SUMMARY_SCHEMA,
        max_output_tokens=setup.limits.output_tokens_per_step or None,
    )


def summary_of_answer(
    answer: str, old: ContextCompacted | None, exchanges: tuple[Exchange, ...], schemas: Schemas
) -> ContextCompacted:
    """The model's summary, or the fallback where it does not fit. A section that it left empty is not lost."""
    instead = fallback(old, exchanges)
    if schemas.problems(SUMMARY_SCHEMA, answer):
        return instead
    written = cast("dict[str, str]", json.loads(answer))
    if not any(written[name].strip() for name in _SECTIONS):
        return instead
    kept = {name: _bounded(written[name]) or cast("str", getattr(instead, name)) for name in _SECTIONS}
    return ContextCompacted(through_sequence=instead.through_sequence, **kept)


def fallback(old: ContextCompacted | None, exchanges: tuple[Exchange, ...]) -> ContextCompacted:
    """A summary without a model: what the person said, to the letter, and a line about everything else."""
    artifacts: list[str] = []
    requirements: list[str] = []
    decisions: list[str] = []
    log: list[str] = []
    tools: dict[str, str] = {}
    for entry in (entry for exchange in exchanges for entry in exchange.entries):
        match entry:
            case UserSaid():
                requirements.append(f"- {_both_ends(plain_text(entry.parts), _QUOTE)}")
                log.append(f"- The person: {_line(plain_text(entry.parts))}")
            case AgentSaid():
                artifacts.append(plain_text(entry.parts))
                log.append(f"- The agent: {_line(plain_text(entry.parts))}")
            case Called():
                tools[entry.call_id] = entry.tool
            case Returned():
                tool = tools.get(entry.call_id, "a tool")
                told = f"- {tool}: [{entry.outcome.name}] {_line(plain_text(entry.content))}"
                decided = entry.outcome is ToolCallOutcome.DENIED or tool == "ask_user"
                (decisions if decided else log).append(told)
    spoken = [words for words in artifacts if words.strip()]
    return ContextCompacted(
        artifact=_bounded(spoken[-1]) if spoken else _old(old, "artifact") or _NOTHING,
        requirements=_joined(_old(old, "requirements"), requirements),
        decisions=_joined(_old(old, "decisions"), decisions),
        log=_joined(_old(old, "log"), log),
        through_sequence=through_sequence(exchanges),
    )


@value
class Compacting:
    """Has a summary written, and pays for it."""

    models: Models
    setup: Setup
    schemas: Schemas

    async def compact(
        self,
        due: Compact,
        old: ContextCompacted | None,
        step_id: StepId,
        fence_word: str,
        stop: Stop,
        seconds: float | None,
    ) -> tuple[Payload, ...]:
        """The bill and the summary; the bill alone where the run was stopped or ran out of time meanwhile.

        The bill is a StepCompleted of a step that never began: it is charged as every model call is, and counts
        neither as a step of the run nor as an attempt at one. There is one attempt; the fallback stands in for others.
        """
        request = summary_request(old, due.exchanges, self.setup, fence_word)
        waiting = stop.within(seconds)
        reply: ModelReply | None = None
        try:
            async with waiting:
                reply = await self._listen(request)
        except ModelFault as fault:
            if not waiting.cut:
                bill = self._bill(step_id, self.setup.model, ModelUsage(), FinishReason.OTHER, str(fault))
                return bill, fallback(old, due.exchanges)
        if reply is None:
            reason = FinishReason.CANCELLED if stop.is_set() else FinishReason.DEADLINE
            return (self._bill(step_id, self.setup.model, ModelUsage(), reason),)
        bill = self._bill(step_id, reply.model, reply.usage, FINISHES[reply.finish_reason])
        return bill, summary_of_answer(reply.text, old, due.exchanges, self.schemas)

    async def _listen(self, request: ModelRequest) -> ModelReply:
        async with aclosing(self.models.open(self.setup.model).stream(request)) as events:
            async for event in events:
                if isinstance(event, ModelReply):
                    return event
        raise ModelFault(FaultKind.RETRYABLE, "the model's stream ended without a reply")

    def _bill(
        self, step_id: StepId, model: str, usage: ModelUsage, finish: FinishReason, error: str = ""
    ) -> StepCompleted:
        used = used_by_call(self.models, self.setup.model, model, usage)
        return StepCompleted(step_id, 1, model, used, finish, error)


def _record(old: ContextCompacted | None) -> str:
    return json.dumps({name: _old(old, name) for name in _SECTIONS}, ensure_ascii=False)


def _transcript(exchanges: tuple[Exchange, ...]) -> str:
    entries = [entry for exchange in exchanges for entry in exchange.entries]
    length = max(_SHORTEST_CUT, TRANSCRIPT_LENGTH // max(len(entries), 1))
    return "\n".join(_told(entries, length))


def _told(entries: Iterable[Any], length: int) -> Iterator[str]:
    for entry in entries:
        match entry:
            case UserSaid():
                yield f"Person: {_both_ends(plain_text(entry.parts), length)}"
            case AgentSaid():
                yield f"Agent: {_both_ends(plain_text(entry.parts), length)}"
            case Called():
                yield f"The agent calls {entry.tool}: {_both_ends(entry.arguments_json, length)}"
            case Returned():
                yield f"[{entry.outcome.name}] {_both_ends(plain_text(entry.content), length)}"
            case _:
                pass


def _old(old: ContextCompacted | None, section: str) -> str:
    return cast("str", getattr(old, section)) if old else ""


def _joined(old: str, lines: list[str]) -> str:
    kept = "" if old == _NOTHING else old
    return _bounded("\n".join([*([kept] if kept else []), *lines])) or _NOTHING


def _bounded(text: str) -> str:
    return _both_ends(text.strip(), SECTION_LENGTH)


def _line(text: str) -> str:
    return _both_ends(" ".join(text.split()), _LINE)


def _both_ends(text: str, length: int) -> str:
    """The text, or its beginning and its end: what was agreed first and last matters most."""
    if len(text) <= length:
        return text
    half = (length - len(_GAP)) // 2
    return f"{text[:half]}{_GAP}{text[-half:]}"
