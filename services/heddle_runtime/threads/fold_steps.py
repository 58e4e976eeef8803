"""What steps, tool calls, inputs and plans do to the state of their run. Pure."""

from dataclasses import replace

import heddle_runtime.threads.events as e
from heddle_core.ids import CallId, InputId
from heddle_runtime.runs.inputs import ApprovalScope, InputKind, InputRequest
from heddle_runtime.runs.state import InputState, RunState, Transition, advance
from heddle_runtime.threads.state import (
    AgentSaid,
    Called,
    CallFold,
    Resolution,
    Returned,
    RunFold,
    StepFold,
    ThreadFold,
    UserSaid,
)


def step_started(state: ThreadFold, event: e.Event, payload: e.StepStarted) -> None:
    run = state.runs[event.run_id]
    run.steps = max(run.steps, payload.number)
    same = run.step is not None and run.step.step_id == payload.step_id
    failures = run.step.failures if run.step is not None and same else 0
    run.step = StepFold(payload.step_id, payload.number, payload.attempt, payload.message_id, failures=failures)
    run.steered.clear()


def step_completed(state: ThreadFold, event: e.Event, payload: e.StepCompleted) -> None:
    run = state.runs[event.run_id]
    if run.step is not None and run.step.step_id == payload.step_id:
        run.step.completed = not payload.error
        run.step.finish_reason = payload.finish_reason
        run.step.failures += 1 if payload.error else 0
        run.mismatch = run.mismatch if payload.error else ""


def assistant_message_completed(state: ThreadFold, event: e.Event, payload: e.AssistantMessageCompleted) -> None:
    said = AgentSaid(payload.message_id, payload.content, event.sequence, event.commit_time, payload.incomplete)
    _add_reply(state.runs[event.run_id], said)


def tool_call_requested(state: ThreadFold, event: e.Event, payload: e.ToolCallRequested) -> None:
    run = state.runs[event.run_id]
    run.calls[payload.call_id] = CallFold(payload.call_id, payload.message_id, payload.tool, payload.arguments_json)
    _add_reply(run, Called(payload.call_id, payload.message_id, payload.tool, payload.arguments_json))


def tool_call_started(state: ThreadFold, event: e.Event, payload: e.ToolCallStarted) -> None:
    call = state.runs[event.run_id].calls[payload.call_id]
    call.started = True
    call.input_id = payload.input_id
    call.dispatches = payload.attempt
    call.dispatch_fence = payload.fence
    if payload.terms is not None:
        call.path, call.terms = payload.tool, payload.terms


def tool_call_completed(state: ThreadFold, event: e.Event, payload: e.ToolCallCompleted) -> None:
    run = state.runs[event.run_id]
    call = run.calls[payload.call_id]
    call.outcome = payload.outcome
    run.exchange.entries.append(Returned(payload.call_id, payload.outcome, payload.content, payload.next_actions))


def input_requested(state: ThreadFold, event: e.Event, payload: e.InputRequested) -> None:
    run = state.runs[event.run_id]
    asked = payload.input
    if asked.input_id in run.resolutions:  # a tool was faster than its own deferral
        return
    run.inputs[asked.input_id] = replace(asked, create_time=event.commit_time)
    if asked.call_id in run.calls:
        run.calls[asked.call_id].input_id = asked.input_id
    if asked.kind is InputKind.PLAN:
        run.plan_input_id = asked.input_id


def input_resolved(state: ThreadFold, event: e.Event, payload: e.InputResolved) -> None:
    run = state.runs[event.run_id]
    asked = run.inputs.pop(payload.input_id, None)
    kind = asked.kind if asked else InputKind.EXTERNAL
    call_id = asked.call_id if asked else CallId("")
    run.resolutions[payload.input_id] = Resolution(kind, call_id, payload.state, payload.answer, payload.actor)
    if asked is not None:
        _remember_approval(state, asked, payload)
    if run.state is RunState.WAITING and not run.inputs and not run.cancel_sequence:
        run.state = advance(run.state, Transition.WAKE)


def _remember_approval(state: ThreadFold, asked: InputRequest, payload: e.InputResolved) -> None:
    scope = payload.answer.scope if payload.answer else ApprovalScope.ONCE
    if payload.state is InputState.APPROVED and scope is ApprovalScope.THREAD:
        state.approved_tools[asked.tool] = asked.tool_digest


def plan_proposed(state: ThreadFold, event: e.Event, payload: e.PlanProposed | e.PlanRevised) -> None:
    state.plan = payload.plan
    state.runs[event.run_id].plan_input_id = InputId(payload.input_id)


def plan_approved(state: ThreadFold, event: e.Event, payload: e.PlanApproved) -> None:
    state.approved_plan_version = payload.version
    run = state.runs[event.run_id]
    run.plan_approved = True
    run.entries_planned = len(run.exchange.entries)


def _add_reply(run: RunFold, entry: AgentSaid | Called) -> None:
    """Put what a model wrote before the messages that came while it wrote: it had not read them."""
    entries = run.exchange.entries
    place = len(entries)
    while place and isinstance(said := entries[place - 1], UserSaid) and said.message_id in run.steered:
        place -= 1
    entries.insert(place, entry)
