"""What an answered input means for the tool call that waited for it. Pure."""

import json

from heddle_runtime.runs.content import Json, Parts, Text
from heddle_runtime.runs.inputs import InputAnswer, InputKind
from heddle_runtime.runs.state import InputState
from heddle_runtime.threads.events import ToolCallCompleted, ToolCallOutcome
from heddle_runtime.threads.state import CallFold, Resolution


def result_of_answer(call: CallFold, resolution: Resolution) -> ToolCallCompleted:
    """The one result of a call whose input is resolved."""
    answer = resolution.answer or InputAnswer()
    match resolution.state:
        case InputState.DENIED:
            words = answer.text or "no reason was given"
            return _result(call, ToolCallOutcome.DENIED, (Text(f"A person refused this call: {words}."),))
        case InputState.TIMED_OUT:
            return _timed_out(call, resolution, answer)
        case InputState.CANCELLED:
            return _result(call, ToolCallOutcome.CANCELLED, (Text("The call was cancelled."),))
        case _:
            outcome = ToolCallOutcome.ERROR if answer.is_error else ToolCallOutcome.OK
            return _result(call, outcome, _content(answer))


def _timed_out(call: CallFold, resolution: Resolution, answer: InputAnswer) -> ToolCallCompleted:
    """A timeout is never a denial: the model is told that nobody answered, or gets the default answer."""
    if answer.json:
        return _result(call, ToolCallOutcome.OK, (Json(answer.json),))
    if resolution.kind is InputKind.RECONCILE or (call.started and resolution.kind is InputKind.EXTERNAL):
        return _result(call, ToolCallOutcome.UNKNOWN, (Text("Nobody said in time how the call ended."),))
    return _result(call, ToolCallOutcome.TIMED_OUT, (Text("Nobody answered in time; nothing was done."),))


def _content(answer: InputAnswer) -> Parts:
    if answer.content:
        return answer.content
    if answer.json:
        return (Json(answer.json),)
    if answer.options:
        chosen = answer.options[0] if len(answer.options) == 1 else json.dumps(answer.options)
        return (Text(f"{chosen}\n{answer.text}".strip()),)
    return (Text(answer.text or "done"),)


def _result(call: CallFold, outcome: ToolCallOutcome, content: Parts) -> ToolCallCompleted:
    return ToolCallCompleted(call.call_id, outcome, content)
