"""What a client asks for: a turn and its parts. Values only; defaults are those of the contract."""

from collections.abc import Mapping
from dataclasses import field
from enum import IntEnum

from heddle_core.clock import Micros
from heddle_core.ids import MessageId, RunId
from heddle_core.values import value
from heddle_runtime.runs.content import Parts
from heddle_runtime.runs.usage import Limits


class ConflictPolicy(IntEnum):
    """What to do with a turn on a busy thread (SEMANTICS: lane)."""

    UNSPECIFIED = 0
    ENQUEUE = 1
    REJECT = 2
    INTERRUPT = 3
    ROLLBACK = 4
    STEER = 5


class TurnMode(IntEnum):
    """Act at once, or propose a plan first."""

    UNSPECIFIED = 0
    ACT = 1
    PLAN = 2


class TriggerKind(IntEnum):
    """What caused a turn."""

    UNSPECIFIED = 0
    CHAT = 1
    CAMPAIGN = 2
    SPAWN = 3
    SCHEDULE = 4
    WEBHOOK = 5
    CLI = 6
    MCP = 7
    A2A = 8


@value
class Trigger:
    """What caused a turn, and which one of its kind."""

    kind: TriggerKind = TriggerKind.UNSPECIFIED
    reference: str = ""


@value
class ParentReference:
    """The run that starts this one as its child."""

    run_id: RunId
    cascade: bool | None = None
    budget: Limits | None = None

    @property
    def cascades(self) -> bool:
        """Whether cancelling the parent cancels the child: yes, unless said otherwise."""
        return self.cascade is not False


@value
class AgentReference:
    """An agent at a version; version zero is the newest."""

    agent_id: str
    version: int = 0


@value
class ResponseFormat:
    """The JSON Schema that an answer must satisfy."""

    json_schema: str = ""
    name: str = ""


@value
class ContextItem:
    """Something the agent should know that is data, never instructions."""

    item_id: str
    kind: str = ""
    text: str = ""
    source: str = ""


@value
class ClientTool:
    """A tool that the client of the turn performs itself."""

    name: str
    description: str
    parameters_json: str = ""


@value
class Turn:
    """A request to act on a thread."""

    content: Parts
    message_id: MessageId = MessageId("")
    agent: AgentReference | None = None
    context: tuple[ContextItem, ...] = ()
    conflict_policy: ConflictPolicy = ConflictPolicy.UNSPECIFIED
    mode: TurnMode = TurnMode.UNSPECIFIED
    model: str = ""
    response_format: ResponseFormat | None = None
    client_tools: tuple[ClientTool, ...] = ()
    limits: Limits | None = None
    labels: Mapping[str, str] = field(default_factory=dict[str, str])
    trigger: Trigger | None = None
    parent: ParentReference | None = None
    not_before: Micros | None = None
    allowed_tools: tuple[str, ...] = ()
