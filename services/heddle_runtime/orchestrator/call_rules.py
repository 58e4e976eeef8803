"""What to do next with one open tool call: ask for approval, send it, take its answer, or say that it is in doubt.

Pure. The rules are SEMANTICS 26 to 28 and promises P8 and P9.
"""

from dataclasses import replace

from heddle_core.clock import MICROS_PER_SECOND, Micros
from heddle_core.ids import InputId
from heddle_core.values import value
from heddle_runtime.orchestrator.answers import result_of_answer
from heddle_runtime.orchestrator.setup import ALWAYS_ASKED, Setup, needs_approval
from heddle_runtime.runs.agent import ApprovalPolicy
from heddle_runtime.runs.content import Text
from heddle_runtime.runs.inputs import InputKind, InputRequest
from heddle_runtime.runs.state import InputState
from heddle_runtime.runs.turn import ClientTool
from heddle_runtime.threads.events import InputRequested, Payload, ToolCallCompleted, ToolCallOutcome
from heddle_runtime.threads.state import CallFold, Resolution, RunFold, ThreadFold
from heddle_runtime.tools.port import NO_ARGUMENTS, ToolSpec
from heddle_runtime.tools.schema import Schemas
from heddle_runtime.tools.selection import Found, Unknown
from heddle_runtime.tools.terms import sent_tool


@value
class Known:
    """Facts that follow without any effect outside."""

    facts: tuple[Payload, ...]


@value
class Ready:
    """The call can be sent, with exactly these arguments."""

    spec: ToolSpec
    arguments_json: str


@value
class Awaiting:
    """The call waits for an input."""


NextOfCall = Known | Ready | Awaiting


def next_of_call(
    thread: ThreadFold,
    run: RunFold,
    call: CallFold,
    ordinal: int,
    setup: Setup,
    schemas: Schemas,
    fence: int,
    now: Micros,
) -> NextOfCall:
    """What to do with an open call now."""
    if call.input_id in run.inputs:
        return Awaiting()
    resolution = run.resolutions.get(call.input_id) if call.input_id else None
    if resolution is not None and (call.started or resolution.kind is not InputKind.APPROVAL):
        return Known((result_of_answer(call, resolution),))
    client_tool = setup.client_tools.get(call.tool)
    if client_tool is not None:
        return _client_call(run, call, client_tool, ordinal, setup, schemas, now)
    if call.started:
        return _sent_before(run, call, ordinal, setup, fence, now)
    found = setup.tools.find(call.tool)
    if isinstance(found, Unknown):
        return _failed(call, found.message)
    return _unsent(thread, run, call, found.spec, ordinal, setup, schemas, resolution, now)


def minted_input(run: RunFold, ordinal: int, suffix: str = "") -> InputId:
    """The id of the input that belongs to a run's n-th call: derived, so that it needs no row until it is used."""
    return InputId(f"inp_{run.run_id.removeprefix('run_')}_{ordinal}{suffix}")


def _unsent(
    thread: ThreadFold,
    run: RunFold,
    call: CallFold,
    spec: ToolSpec,
    ordinal: int,
    setup: Setup,
    schemas: Schemas,
    resolution: Resolution | None,
    now: Micros,
) -> NextOfCall:
    if resolution is not None:
        return _after_approval(call, spec, schemas, resolution)
    problems = schemas.problems(spec.parameters_json, call.arguments_json)
    if problems:
        return _failed(call, "The arguments are not valid: " + " ".join(problems))
    policy = setup.agent.approval_policy or ApprovalPolicy.BY_TOOL
    if not needs_approval(spec, policy, thread.approved_tools):
        return Ready(spec, call.arguments_json)
    asked = _input(run, call, InputKind.APPROVAL, minted_input(run, ordinal, "a"), setup, now)
    asked = replace(
        asked,
        prompt=f"May {spec.path} be called?",
        tool=spec.path,
        tool_digest=spec.schema_digest,
        thread_scope_refused=spec.risk in ALWAYS_ASKED,
    )
    return Known((InputRequested(asked),))


def _after_approval(call: CallFold, spec: ToolSpec, schemas: Schemas, resolution: Resolution) -> NextOfCall:
    if resolution.state is not InputState.APPROVED:
        return Known((result_of_answer(call, resolution),))
    edited = resolution.answer.edited_arguments_json if resolution.answer else ""
    arguments = edited or call.arguments_json
    problems = schemas.problems(spec.parameters_json, arguments)
    if problems:
        return _failed(call, "The approved arguments are not valid: " + " ".join(problems))
    return Ready(spec, arguments)


def _sent_before(run: RunFold, call: CallFold, ordinal: int, setup: Setup, fence: int, now: Micros) -> NextOfCall:
    """A call with an intent and no result, whose owner is gone: sent again only if that does no harm (P8)."""
    if call.dispatch_fence == fence:
        return Awaiting()
    spec = _tool_of_sent(call, setup)
    if spec is None:
        return _in_doubt(run, call, call.tool, ordinal, setup, now)
    if spec.repeatable:
        return Ready(spec, sent_arguments(run, call))
    if not spec.asks_in_doubt:
        return _ended(call, ToolCallOutcome.UNKNOWN, "The runtime stopped while the tool was at work.")
    return _in_doubt(run, call, spec.path, ordinal, setup, now)


def _tool_of_sent(call: CallFold, setup: Setup) -> ToolSpec | None:
    """By what is on record of it, also if nobody serves it now: its name alone may have come to mean another tool."""
    if call.terms is not None:
        return sent_tool(call.path, call.terms, setup.tools.at(call.path))
    found = setup.tools.find(call.tool)
    return found.spec if isinstance(found, Found) else None


def _in_doubt(run: RunFold, call: CallFold, tool: str, ordinal: int, setup: Setup, now: Micros) -> Known:
    """A person says how the call ended; also where nobody knows what its tool could do."""
    asked = _input(run, call, InputKind.RECONCILE, minted_input(run, ordinal, "r"), setup, now)
    prompt = f"{tool} was called, and whether it took effect is not known: how did it end?"
    return Known((InputRequested(replace(asked, prompt=prompt, tool=tool)),))


def sent_arguments(run: RunFold, call: CallFold) -> str:
    """The arguments that were approved with edits, or those that the model wrote."""
    for resolution in run.resolutions.values():
        answer = resolution.answer
        if answer and answer.edited_arguments_json and resolution.call_id == call.call_id:
            return answer.edited_arguments_json
    return call.arguments_json


def _client_call(
    run: RunFold, call: CallFold, tool: ClientTool, ordinal: int, setup: Setup, schemas: Schemas, now: Micros
) -> NextOfCall:
    problems = schemas.problems(tool.parameters_json or NO_ARGUMENTS, call.arguments_json)
    if problems:
        return _failed(call, "The arguments are not valid: " + " ".join(problems))
    asked = _input(run, call, InputKind.CLIENT_TOOL, minted_input(run, ordinal, "c"), setup, now)
    return Known((InputRequested(replace(asked, prompt=tool.description, tool=tool.name)),))


def _input(run: RunFold, call: CallFold, kind: InputKind, input_id: InputId, setup: Setup, now: Micros) -> InputRequest:
    return InputRequest(
        input_id=input_id,
        thread_id=setup.thread_id,
        run_id=run.run_id,
        kind=kind,
        state=InputState.PENDING,
        call_id=call.call_id,
        arguments_json=call.arguments_json,
        expire_time=Micros(now + round(setup.defaults.input_expiry.total_seconds() * MICROS_PER_SECOND)),
        default_state=InputState.DENIED,
    )


def _failed(call: CallFold, message: str) -> Known:
    return _ended(call, ToolCallOutcome.ERROR, message)


def _ended(call: CallFold, outcome: ToolCallOutcome, message: str) -> Known:
    return Known((ToolCallCompleted(call.call_id, outcome, (Text(message),)),))
