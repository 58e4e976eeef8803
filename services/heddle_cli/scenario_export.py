"""Turns a thread's facts into a scenario that a scripted model replays. Pure.

A scripted model goes by the last thing that the user said and by how often the model has spoken since, so each
run becomes a turn, and a message that steered a run begins a turn of its own.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from heddle.common.v1.content_pb2 import ContentPart
from heddle.common.v1.usage_pb2 import Usage
from heddle.runtime.v1.event_pb2 import ThreadEvent
from heddle_client.transcript_lines import text_of

_FINISH = {1: "stop", 2: "tool_calls", 3: "length", 4: "content_filter", 7: "other"}
"""Names in scenarios of the contract's FinishReason."""


@dataclass
class _Step:
    """One model call, under way or done."""

    message_id: str
    text: str = ""
    reasoning: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    usage: Usage | None = None
    finish: str = ""
    done: bool = False


@dataclass
class _Turn:
    """What a user said, and the model's steps since."""

    said: str
    run_id: str
    steps: list[_Step] = field(default_factory=list[_Step])


@dataclass(frozen=True)
class Exported:
    """A scenario, and what could not be put into it."""

    scenario: dict[str, Any]
    notes: tuple[str, ...]


def export(events: Iterable[ThreadEvent], description: str) -> Exported:
    """The scenario of a thread. Runs that left the history, and steps that failed, are left out."""
    turns: list[_Turn] = []
    gone: set[str] = set()
    notes: list[str] = []
    for event in events:
        _take(turns, gone, notes, event)
    kept = [turn for turn in turns if turn.run_id not in gone and any(step.done for step in turn.steps)]
    said = [turn.said for turn in kept]
    for text in dict.fromkeys(text for text in said if said.count(text) > 1):
        notes.append(f"{text[:60]!r} was said more than once: a scenario answers it the same way each time")
    first = {turn.said: turn for turn in reversed(kept)}
    told = [_turn(turn) for turn in kept if first[turn.said] is turn]
    return Exported({"description": description, "turns": told}, tuple(notes))


def _take(turns: list[_Turn], gone: set[str], notes: list[str], event: ThreadEvent) -> None:
    turn = next((each for each in reversed(turns) if each.run_id == event.run_id), None)
    match event.WhichOneof("payload"):
        case "turn_requested":
            turns.append(_Turn(_said(event.turn_requested.turn.content), event.run_id))
        case "turn_steered":
            turns.append(_Turn(_said(event.turn_steered.content), event.run_id))
        case "run_superseded":
            gone.add(event.run_superseded.superseded_run_id)
        case "run_cancelled" if event.run_cancelled.rolled_back:
            gone.add(event.run_id)
        case "plan_proposed":
            gone.add(event.run_id)
            notes.append(f"run {event.run_id} worked by a plan, which no scenario can replay: left out")
        case "thread_forked":
            notes.append("what came before the fork is in the thread that it was forked from")
        case _ if turn is not None:
            _take_step(turn, event)
        case _:
            pass


def _take_step(turn: _Turn, event: ThreadEvent) -> None:
    match event.WhichOneof("payload"):
        case "step_started":
            turn.steps = [each for each in turn.steps if each.message_id != event.step_started.discards_message_id]
            turn.steps.append(_Step(event.step_started.message_id))
        case "reasoning_recorded" if step := _step(turn, event.reasoning_recorded.message_id):
            step.reasoning = event.reasoning_recorded.text
        case "assistant_message_completed" if step := _step(turn, event.assistant_message_completed.message_id):
            step.text = text_of(event.assistant_message_completed.content)
            step.done = True
        case "tool_call_requested" if step := _step(turn, event.tool_call_requested.message_id):
            asked = event.tool_call_requested
            step.calls.append({"tool": asked.tool, "raw_arguments": asked.arguments_json})
            step.done = True
        case "step_completed" if turn.steps and not event.step_completed.error:
            turn.steps[-1].usage = event.step_completed.usage
            turn.steps[-1].finish = _FINISH.get(event.step_completed.finish_reason, "")
        case _:
            pass


def _step(turn: _Turn, message_id: str) -> _Step | None:
    return next((each for each in turn.steps if each.message_id == message_id), None)


def _said(parts: Iterable[ContentPart]) -> str:
    """What a user said as a scripted model sees it: each part on lines of its own."""
    told: list[str] = []
    for part in parts:
        match part.WhichOneof("part"):
            case "text":
                told.append(part.text)
            case "json":
                told.append(part.json)
            case "inline_data":
                told.append(f"[{part.inline_data.media_type}, {len(part.inline_data.data)} bytes]")
            case "asset":
                told.append(f"[asset {part.asset.asset_id} {part.asset.media_type} {part.asset.name}]")
            case _:
                pass
    return "\n".join(told)


def _turn(turn: _Turn) -> dict[str, Any]:
    return {
        "when": {"user": rf"\A{re.escape(turn.said)}\Z"},
        "steps": [_told_step(each) for each in turn.steps if each.done],
    }


def _told_step(step: _Step) -> dict[str, Any]:
    told: dict[str, Any] = {}
    if step.reasoning:
        told["reasoning"] = step.reasoning.replace("{{", "{ {")
    if "{{" in step.text:
        # Braces quote the turn in a scenario, and each delta is read by itself: cut between them.
        told["deltas"] = list(_cut_braces(step.text))
    elif step.text or not step.calls:
        told["text"] = step.text
    if step.calls:
        told["calls"] = [_call(each) for each in step.calls]
    if step.usage is not None:
        told["usage"] = {
            "input": step.usage.input_tokens,
            "output": step.usage.output_tokens,
            "cached": step.usage.cached_input_tokens,
            "reasoning": step.usage.reasoning_tokens,
        }
    if step.finish and step.finish != ("tool_calls" if step.calls else "stop"):
        told["finish"] = step.finish
    return told


def _call(call: dict[str, Any]) -> dict[str, Any]:
    """The call with readable arguments where those say the same as the raw ones."""
    raw: str = call["raw_arguments"]
    try:
        value: Any = json.loads(raw)
    except (ValueError, RecursionError):
        return call
    same = isinstance(value, dict) and json.dumps(value, ensure_ascii=False, separators=(",", ":")) == raw
    return {"tool": call["tool"], "arguments": value} if same and "{{" not in raw else call


def _cut_braces(text: str) -> Iterator[str]:
    start = 0
    for found in re.finditer(r"\{(?=\{)", text):
        yield text[start : found.end()]
        start = found.end()
    yield text[start:]
