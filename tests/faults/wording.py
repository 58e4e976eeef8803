"""What clients ask for, seeded: turns of every kind, and answers that fit what was asked."""

from random import Random
from typing import Any

from heddle.common.v1.content_pb2 import ContentPart
from heddle.runtime.v1.agent_runtime_pb2 import StartTurnRequest
from heddle.runtime.v1.input_pb2 import InputAnswer, InputDecision, InputKind
from heddle.runtime.v1.tool_call_pb2 import ClientTool
from heddle.runtime.v1.turn_pb2 import AgentReference, ConflictPolicy, Turn
from tests.faults.temper import Temper

_LOOK = ClientTool(name="look", description="Looks.", parameters_json='{"type":"object"}')

_POLICIES = (
    (ConflictPolicy.CONFLICT_POLICY_ENQUEUE, 12),
    (ConflictPolicy.CONFLICT_POLICY_STEER, 3),
    (ConflictPolicy.CONFLICT_POLICY_INTERRUPT, 2),
    (ConflictPolicy.CONFLICT_POLICY_ROLLBACK, 1),
    (ConflictPolicy.CONFLICT_POLICY_REJECT, 1),
)


def turn_of(agent: str, thread_id: str, marker: str, temper: Temper, random: Random) -> StartTurnRequest:
    """A turn whose text says what the model is to do; `marker` is its request's id, and stands in the text."""
    plan = picked(random, temper.plans)
    steps = plan.replace("ask/", "ask_user/") if plan.startswith("ask/") else plan
    text = f"{marker} plan={steps} words={random.randint(3, 12)} pace={random.randint(0, temper.pace)}"
    return StartTurnRequest(
        request_id=marker,
        thread_id=thread_id,
        create_if_missing=True,
        turn=Turn(
            agent=AgentReference(agent_id=agent),
            content=[ContentPart(text=text)],
            conflict_policy=picked(random, _POLICIES),
            client_tools=[_LOOK] if "look" in plan else [],
        ),
    )


def answer_to(asked: Any, random: Random) -> InputAnswer:
    """An answer that an input takes: a decision where one is asked for, else words."""
    if asked.kind in (InputKind.INPUT_KIND_APPROVAL, InputKind.INPUT_KIND_PLAN):
        yes = random.random() < 0.8
        decision = InputDecision.INPUT_DECISION_APPROVE if yes else InputDecision.INPUT_DECISION_DENY
        return InputAnswer(decision=decision, text=f"{random.randrange(1000)}")
    return InputAnswer(text=f"answer {random.randrange(1000)}")


def picked(random: Random, weighted: tuple[tuple[Any, int], ...]) -> Any:
    """One of several, each as often as its weight says."""
    return random.choices([each for each, _ in weighted], [weight for _, weight in weighted])[0]
