"""Situations of a run, and what is decided in them."""

import json
from typing import Any

import heddle_runtime.threads.events as e
from heddle_core.clock import ManualClock, Micros
from heddle_core.ids import CallId, InputId, MessageId
from heddle_runtime.orchestrator.decide import decide
from heddle_runtime.orchestrator.decisions import Decision, Fail, Record
from heddle_runtime.orchestrator.foresight import foresee
from heddle_runtime.runs.content import Text
from heddle_runtime.runs.run import FailureReason
from heddle_runtime.runs.turn import ClientTool
from heddle_runtime.threads.fold_codec import encode
from heddle_runtime.tools.port import RiskClass, ToolSpec
from heddle_runtime.tools.schema import Schemas
from heddle_runtime.tools.terms import terms_of
from tests.kit.setups import setup_of
from tests.kit.thread_facts import RUN, more, requested, said, started, step, stepped, tell
from tests.kit.thread_stories import Story
from tests.kit.tool_servers import spec_of

NOW = Micros(10**15)
OBJECT = '{"type":"object"}'
WHERE = json.dumps({"type": "object", "properties": {"where": {"type": "string"}}, "required": ["where"]})
LOOK = spec_of("look", risk=RiskClass.READ, read_only=True, parameters_json=OBJECT)
PEEK = spec_of("peek", risk=RiskClass.READ, read_only=True, parameters_json=OBJECT)
ACT = spec_of("act", parameters_json=OBJECT)
AGAIN = spec_of("again", idempotent=True, parameters_json=OBJECT)
GUARDED = spec_of("guarded", needs_approval=True, parameters_json=WHERE)
PUBLISH = spec_of("publish", risk=RiskClass.PUBLISH, parameters_json=OBJECT)
GUESS = spec_of("guess", risk=RiskClass.READ, parameters_json=OBJECT)
TOOLS = (LOOK, PEEK, ACT, AGAIN, GUARDED, PUBLISH, GUESS)
BROWSE = ClientTool("browse", "Opens a page.", OBJECT)


def decided(
    story: Story, *, fence: int = 1, now: Micros = NOW, facts: tuple[e.Payload, ...] = (), **fields: Any
) -> Decision:
    setup = setup_of(TOOLS, client_tools=(BROWSE,), **fields)
    before = encode(story.fold)
    run = foresee(story.fold, story.fold.runs[RUN], facts, now)
    decision = decide(story.fold, run, setup, Schemas(ManualClock()), fence, now)
    assert encode(story.fold) == before, "a decision changes nothing"
    return decision


def called(*calls: str | tuple[str, str], text: str = "") -> Story:
    """A run whose model has just asked for these calls: tools by name, or with arguments."""
    story = tell(requested(), started(), step())
    if text:
        more(story, said(text))
    more(story, stepped())
    for number, call in enumerate(calls, 1):
        tool, arguments = (call, "{}") if isinstance(call, str) else call
        more(story, e.ToolCallRequested(CallId(f"c{number}"), MessageId("msg_1"), tool, arguments))
    return story


def sent(story: Story, number: int = 1, fence: int = 1, spec: ToolSpec | None = None) -> Story:
    """A call that was sent; without `spec` by a version that kept nothing of its tool."""
    minted, path = InputId(f"inp_1_{number}"), spec.path if spec else "kit/x"
    terms = terms_of(spec) if spec else None
    return more(story, e.ToolCallStarted(CallId(f"c{number}"), path, "k", "d", minted, fence, terms=terms))


def ended(story: Story, number: int = 1) -> Story:
    return more(story, e.ToolCallCompleted(CallId(f"c{number}"), e.ToolCallOutcome.OK, (Text("r"),)))


def failure_of(decision: Decision) -> FailureReason:
    assert isinstance(decision, Fail), decision
    return decision.failure.reason


def only_fact(decision: Decision) -> Any:
    assert isinstance(decision, Record) and len(decision.facts) == 1, decision
    return decision.facts[0]
