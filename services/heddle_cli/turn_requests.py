"""Makes requests for turns from what was typed."""

from collections.abc import Mapping

from heddle.common.v1.content_pb2 import ContentPart
from heddle.runtime.v1.agent_runtime_pb2 import StartStreamingTurnRequest
from heddle.runtime.v1.turn_pb2 import (
    AgentReference,
    ConflictPolicy,
    ResponseFormat,
    Trigger,
    TriggerKind,
    Turn,
    TurnMode,
)
from heddle_cli.session import Session


def turn(
    text: str,
    *,
    agent: str = "",
    model: str = "",
    schema: str = "",
    labels: Mapping[str, str] | None = None,
    plan: bool = False,
    steer: bool = False,
    trigger: TriggerKind.ValueType = TriggerKind.TRIGGER_KIND_CLI,
) -> Turn:
    """A turn that says `text`. `schema`: JSON Schema of the answer; `steer`: for the run under way."""
    return Turn(
        content=[ContentPart(text=text)],
        agent=AgentReference(agent_id=agent) if agent else None,
        model=model,
        response_format=ResponseFormat(json_schema=schema) if schema else None,
        labels=labels,
        mode=TurnMode.TURN_MODE_PLAN if plan else TurnMode.TURN_MODE_ACT,
        conflict_policy=ConflictPolicy.CONFLICT_POLICY_STEER if steer else ConflictPolicy.CONFLICT_POLICY_ENQUEUE,
        trigger=Trigger(kind=trigger),
    )


def start_request(session: Session, asked: Turn, *, thread_id: str = "") -> StartStreamingTurnRequest:
    """The request that starts a turn; a thread that is named is made if there is none of that name."""
    return StartStreamingTurnRequest(
        request_id=session.new_request_id(), thread_id=thread_id, create_if_missing=bool(thread_id), turn=asked
    )
