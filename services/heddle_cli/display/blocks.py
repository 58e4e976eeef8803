"""What a transcript looks like: a pure function from the client's fold to blocks that can be printed.

A block is settled when nothing of it can change any more. Whoever prints settled blocks in order, each once, has
printed the conversation.
"""

import json
from collections.abc import Iterator
from enum import Enum

from rich.text import Text

from heddle.runtime.v1.input_pb2 import InputKind, InputRequest
from heddle.runtime.v1.run_pb2 import RunState
from heddle.runtime.v1.thread_pb2 import MessageRole
from heddle.runtime.v1.tool_call_pb2 import ToolCallOutcome
from heddle_cli.display import names
from heddle_cli.display.screen import clean
from heddle_cli.display.times import spent
from heddle_client.transcript import Transcript
from heddle_client.transcript_lines import MessageLine, RunLine, ToolLine, ToolState, text_of
from heddle_core.texts import clipped
from heddle_core.values import value

MOST_ARGUMENTS = 240
MOST_RESULT = 400
"""Characters of a tool's arguments and result that are shown; `--json` shows all."""


class BlockKind(Enum):
    """What a block shows."""

    USER = "what was asked"
    REASONING = "what the model thinks"
    ANSWER = "what the agent says"
    TOOL = "a tool call"
    INPUT = "what somebody must answer"
    END = "how a run ended"


@value
class Block:
    """One thing to show."""

    key: str
    """The same for the same thing, whatever it looks like by now."""
    kind: BlockKind
    text: Text
    settled: bool


def blocks_of(transcript: Transcript, run_id: str = "", *, users: bool = True) -> tuple[Block, ...]:
    """What there is to show of a transcript, or of one run in it, in order. `users`: also what people said."""
    told: list[Block] = []
    shown_tools: set[tuple[str, str]] = set()
    for line in _lines(transcript, run_id):
        told.extend(_message_blocks(line, users))
        for key, tool in transcript.tools.items():
            if tool.run_id == line.run_id and tool.message_id == line.message_id:
                shown_tools.add(key)
                told.append(_tool_block(tool))
    for key, tool in transcript.tools.items():
        if key not in shown_tools and (not run_id or tool.run_id == run_id):
            told.append(_tool_block(tool))
    for asked in transcript.inputs.values():
        if not run_id or asked.run_id == run_id:
            told.append(Block(f"input {asked.input_id}", BlockKind.INPUT, input_text(asked), settled=False))
    for run in transcript.runs.values():
        if run.ended and (not run_id or run.run_id == run_id) and (end := _end_text(run)):
            told.append(Block(f"end {run.run_id}", BlockKind.END, end, settled=True))
    return tuple(told)


def input_text(asked: InputRequest) -> Text:
    """A question as people read it: who asks for what, and what can be answered."""
    text = Text(f"? {names.input_kind(asked.kind)} {asked.input_id}", style="yellow")
    if asked.tool:
        text.append(f"  {clean(asked.tool)}", style="bold yellow")
    if asked.prompt:
        text.append(f"\n  {clean(asked.prompt)}", style="default")
    if asked.arguments_json and asked.kind != InputKind.INPUT_KIND_QUESTION:
        text.append(f"\n  {clipped(pretty_json(asked.arguments_json), MOST_ARGUMENTS * 4)}", style="default")
    for number, option in enumerate(asked.options, 1):
        mark = " (recommended)" if option.recommended else ""
        said = f" - {option.description}" if option.description else ""
        text.append(
            f"\n  {number}. [{clean(option.value)}] {clean(option.label or option.value)}{clean(said)}{mark}",
            style="default",
        )
    return text


def pretty_json(text: str) -> str:
    """JSON on indented lines; what is no JSON stays as it is. Never with control characters."""
    try:
        told = json.dumps(json.loads(text), ensure_ascii=False, indent=2)
    except (ValueError, RecursionError):
        told = text
    return clean(told).replace("\n", "\n  ")


def _lines(transcript: Transcript, run_id: str) -> Iterator[MessageLine]:
    """Messages of the history, also those that have nothing to show but calls that belong to them."""
    shown = {line.message_id for line in transcript.shown}
    for line in transcript.messages.values():
        if run_id and line.run_id != run_id:
            continue
        bare = not (line.text or line.reasoning or line.content or line.redacted)
        if line.message_id in shown or bare:
            yield line


def _message_blocks(line: MessageLine, users: bool) -> Iterator[Block]:
    if line.role == MessageRole.MESSAGE_ROLE_USER:
        if users:
            said = Text(f"> {clean(_content_text(line)) or '(no text)'}", style="bold")
            yield Block(f"message {line.message_id}", BlockKind.USER, said, settled=True)
        return
    if line.reasoning:
        thought = Text(clean(line.reasoning), style="dim")
        yield Block(f"reasoning {line.message_id}", BlockKind.REASONING, thought, line.thought is not None)
    words = clean(_content_text(line) if line.settled else line.text)
    if line.redacted:
        words = "(redacted)"
    if words:
        text = Text(words)
        if line.incomplete:
            text.append(" [cut short]", style="dim")
        yield Block(f"message {line.message_id}", BlockKind.ANSWER, text, line.settled)


def _content_text(line: MessageLine) -> str:
    parts = [part for part in line.content if part.WhichOneof("part") != "text"]
    return line.text + "".join(f"\n[{part.WhichOneof('part')}]" for part in parts)


_STATES = {
    ToolState.WRITING: ("…", "is being asked for"),
    ToolState.REQUESTED: ("…", "is asked for"),
    ToolState.STARTED: ("…", "is at work"),
    ToolState.ENDED: ("", ""),
}
_OUTCOME_STYLES = {
    ToolCallOutcome.TOOL_CALL_OUTCOME_OK: ("✓", "green"),
    ToolCallOutcome.TOOL_CALL_OUTCOME_UNKNOWN: ("?", "bold red"),
    ToolCallOutcome.TOOL_CALL_OUTCOME_ERROR: ("✗", "red"),
}


def _tool_block(tool: ToolLine) -> Block:
    mark, state = _STATES[tool.state]
    style = "cyan"
    if tool.state is ToolState.ENDED:
        mark, style = _OUTCOME_STYLES.get(tool.outcome, ("✗", "yellow"))
        state = names.outcome(tool.outcome)
    text = Text(f"{mark} {clean(tool.tool) or 'a tool'}", style=style)
    text.append(f" {state}", style="dim")
    if tool.state is ToolState.STARTED and (tool.fraction or tool.note):
        text.append(f" {tool.fraction:.0%} {clean(tool.note)}".rstrip(), style="dim")
    if tool.arguments_json:
        text.append(f"\n  {clipped(clean(tool.arguments_json), MOST_ARGUMENTS)}", style="dim")
    if tool.state is ToolState.ENDED and (result := clean(text_of(tool.content) or _json_of(tool))):
        text.append(f"\n  -> {clipped(result, MOST_RESULT)}", style="dim")
    return Block(f"tool {tool.run_id} {tool.call_id}", BlockKind.TOOL, text, tool.state is ToolState.ENDED)


def _json_of(tool: ToolLine) -> str:
    return " ".join(part.json for part in tool.content if part.WhichOneof("part") == "json")


def _end_text(run: RunLine) -> Text | None:
    if run.state == RunState.RUN_STATE_FAILED and run.failure is not None:
        reason = names.failure_reason(run.failure.reason)
        return Text(f"run {run.run_id} failed: {reason}: {clean(run.failure.message)}", style="red")
    if run.state == RunState.RUN_STATE_CANCELLED:
        return Text(f"run {run.run_id} cancelled: {names.cancel_cause(run.cancel_cause)}", style="yellow")
    if run.result is not None and run.result.HasField("usage"):
        return Text(f"run {run.run_id} completed: {spent(run.result.usage)}", style="dim")
    return None
