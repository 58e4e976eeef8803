"""Answers to inputs: fitting, edited, denied, unfitting, foreign, late, and told again."""

from typing import Any

from heddle.common.v1.content_pb2 import ContentPart
from heddle.runtime.v1.agent_runtime_pb2 import ResolveInputRequest
from heddle.runtime.v1.input_pb2 import InputAnswer, InputDecision, InputKind, InputProgress
from tests.kit.property_calls import Outcome, Told
from tests.kit.property_world import World

HOWS = ("fit", "fit", "fit", "edit", "deny", "unfit", "stranger", "bob", "progress")

_ASKS_YES_OR_NO = (InputKind.INPUT_KIND_APPROVAL, InputKind.INPUT_KIND_PLAN)

_LATE = ("INPUT_ALREADY_RESOLVED", "INPUT_EXPIRED")


async def answer(world: World, asked: Any, how: str, request_id: str) -> None:
    """Answer an input in one of the ways."""
    request = ResolveInputRequest(request_id=request_id, input_id=asked.input_id)
    if how == "progress":
        request.progress.CopyFrom(InputProgress(fraction=0.5, message="half"))
    else:
        request.answer.CopyFrom(_answer(asked, how))
    client = {"stranger": world.stranger, "bob": world.bob}.get(how, world.ann)
    told = await client.call("agent_runtime", "ResolveInput", request)
    if told.outcome is Outcome.UNKNOWN:
        return
    match how:
        case "stranger":
            assert told.reason == "INPUT_NOT_FOUND", f"{told}"
        case "unfit":
            assert told.reason in ("INVALID_FIELD", *_LATE), f"{told}"
        case "edit" if asked.kind != InputKind.INPUT_KIND_APPROVAL:
            assert told.reason in ("INVALID_FIELD", *_LATE), f"{told}"
        case _:
            assert told.done or told.reason in _LATE, f"{told}"


async def answer_again(world: World, told: Told, request_id: str) -> None:
    """Say to an input what was said before: to the letter, under another id, and something else."""
    winner = told.request
    again = await world.ann.call("agent_runtime", "ResolveInput", winner)
    assert again.done or again.outcome is Outcome.UNKNOWN, f"{again}: it was acknowledged before"
    same = ResolveInputRequest()
    same.CopyFrom(winner)
    same.request_id = f"{request_id}-same"
    again = await world.ann.call("agent_runtime", "ResolveInput", same)
    assert again.done or again.outcome is Outcome.UNKNOWN, f"{again}: the winning answer was not known"
    other = ResolveInputRequest()
    other.CopyFrom(winner)
    other.request_id = f"{request_id}-other"
    other.answer.text = f"{winner.answer.text} and more"
    late = await world.ann.call("agent_runtime", "ResolveInput", other)
    assert late.reason == "INPUT_ALREADY_RESOLVED" or late.outcome is Outcome.UNKNOWN, f"{late}"
    reused = ResolveInputRequest()
    reused.CopyFrom(other)
    reused.request_id = winner.request_id
    refused = await world.ann.call("agent_runtime", "ResolveInput", reused)
    assert refused.reason == "REQUEST_ID_REUSED" or refused.outcome is Outcome.UNKNOWN, f"{refused}"


def _answer(asked: Any, how: str) -> InputAnswer:
    decided = asked.kind in _ASKS_YES_OR_NO
    match how:
        case "deny":
            return InputAnswer(decision=InputDecision.INPUT_DECISION_DENY, text="not now")
        case "unfit":
            wrong = InputDecision.INPUT_DECISION_ANSWER if decided else InputDecision.INPUT_DECISION_APPROVE
            return InputAnswer(decision=wrong, text="what?")
        case "edit":
            edited = '{"path": "edited.txt", "content": "edited", "replace": true}'
            return InputAnswer(decision=InputDecision.INPUT_DECISION_APPROVE, edited_arguments_json=edited)
        case _ if decided:
            return InputAnswer(decision=InputDecision.INPUT_DECISION_APPROVE)
        case _ if asked.kind == InputKind.INPUT_KIND_QUESTION:
            return InputAnswer(options=["blue"])
        case _:
            return InputAnswer(content=[ContentPart(text="a window")])
