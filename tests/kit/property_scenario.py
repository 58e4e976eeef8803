"""What the scripted model says in the property suite, and which words a screen may therefore show.

Each turn's first line is a marker of its own; the second names the kind of turn.
"""

from collections.abc import Iterable

from heddle.common.v1.content_pb2 import ContentPart
from heddle.runtime.v1.tool_call_pb2 import ClientTool
from heddle.runtime.v1.turn_pb2 import AgentReference, ConflictPolicy, Turn, TurnMode

AGENT = "weaver"
TOOLS = ("builtin/ask_user", "builtin/write_file", "builtin/current_time")

LOOK = ClientTool(name="look", description="Looks somewhere.", parameters_json='{"type":"object"}')

_SAID = "I read «{line}» word by word, ünd 🌦 that is all."
_FIRST = "One moment with {line} please. "
_LAST = "Done with {line}, thank you."
_FLAKY = "The first try of {line} breaks off, the next one does not."
_HANG = "About {line} I could go on for ever and ever"

TEXTS = (_SAID, _FIRST, _LAST, _FLAKY, _HANG)
"""All that the model ever says; `{line}` is the first line of the latest message of the user."""

KINDS = ("say", "think", "time", "ask", "both", "write", "look", "flaky", "broken", "hang", "mangled", "nonesuch")


def scenario() -> str:
    """The scenario file."""
    stream = "stream: {pieces: words, delay_ms: 1}"
    last = f"      - {{text: {_quoted(_LAST)}, {stream}}}\n"

    def turn(kind: str, steps: str) -> str:
        return f'  - when: {{user: "kind={kind}"}}\n    steps:\n{steps}'

    def calling(*calls: str) -> str:
        listed = "".join(f"          - {call}\n" for call in calls)
        return f"      - text: {_quoted(_FIRST)}\n        {stream}\n        calls:\n{listed}{last}"

    ask = '{tool: ask_user, arguments: {question: "Which?", options: [{value: red}, {value: blue}], free_text: true}}'
    write = '{tool: write_file, arguments: {path: "{{user.line 1}}.txt", content: "as asked"}}'
    time = "{tool: current_time, arguments: {}}"
    steps = {
        "say": f"      - {{text: {_quoted(_SAID)}, {stream}}}\n",
        "think": f'      - {{reasoning: "Hm, {{{{user.line 1}}}}.", text: {_quoted(_SAID)}, {stream}}}\n',
        "time": calling(time),
        "ask": calling(ask),
        "both": calling(time, ask),
        "write": calling(write),
        "look": calling("{tool: look, arguments: {}}"),
        "mangled": calling("{tool: current_time, raw_arguments: '{\"zone\": '}"),
        "nonesuch": calling("{tool: nonesuch, arguments: {}}"),
        "flaky": f"      - {{text: {_quoted(_FLAKY)}, {stream},"
        " fault: {kind: retryable, after_deltas: 4, times: 1}}\n",
        "broken": f"      - {{text: {_quoted(_SAID)}, {stream}, fault: {{kind: refused, after_deltas: 2}}}}\n",
        "hang": f"      - {{text: {_quoted(_HANG)}, {stream}, fault: {{kind: hang, after_deltas: 5}}}}\n",
    }
    assert tuple(sorted(steps)) == tuple(sorted(KINDS))
    return "turns:\n" + "".join(turn(kind, text) for kind, text in steps.items())


def turn(line: str, kind: str, policy: ConflictPolicy.ValueType, *, plans: bool = False) -> Turn:
    """A turn of a kind, whose marker is `line`."""
    return Turn(
        agent=AgentReference(agent_id=AGENT),
        content=content(line, kind),
        conflict_policy=policy,
        mode=TurnMode.TURN_MODE_PLAN if plans else TurnMode.TURN_MODE_ACT,
        client_tools=[LOOK] if kind == "look" else [],
    )


def content(line: str, kind: str) -> list[ContentPart]:
    """What the user says in such a turn."""
    return [ContentPart(text=f"{line}\nkind={kind}")]


def sayable(lines: Iterable[str]) -> list[str]:
    """Every text that the model may be in the middle of, given the markers of a run's messages."""
    return [text.format(line=line) for line in lines for text in TEXTS]


def line_of(parts: Iterable[ContentPart]) -> str:
    """The marker of a message of the user."""
    text = "".join(part.text for part in parts)
    return text.split("\n", 1)[0].strip()


def _quoted(text: str) -> str:
    return '"' + text.format(line="{{user.line 1}}") + '"'
