"""What a run asks of people and services, and what they answer. Values only."""

from enum import IntEnum

from heddle_core.clock import Micros
from heddle_core.ids import CallId, InputId, RunId, ThreadId
from heddle_core.values import value
from heddle_runtime.runs.content import Actor, Parts
from heddle_runtime.runs.state import InputState


class InputKind(IntEnum):
    """What is asked; the numbers are the contract's."""

    UNSPECIFIED = 0
    QUESTION = 1
    APPROVAL = 2
    PLAN = 3
    EXTERNAL = 4
    CLIENT_TOOL = 5
    RECONCILE = 6
    AUTHORIZATION = 7


class ApprovalScope(IntEnum):
    """For how much an approval counts."""

    UNSPECIFIED = 0
    ONCE = 1
    THREAD = 2


class InputDecision(IntEnum):
    """What an answer decides."""

    UNSPECIFIED = 0
    ANSWER = 1
    APPROVE = 2
    DENY = 3


@value
class InputOption:
    """One choice of a question."""

    value: str
    label: str = ""
    description: str = ""
    recommended: bool = False


@value
class InputAnswer:
    """An answer to an input."""

    decision: InputDecision = InputDecision.UNSPECIFIED
    text: str = ""
    options: tuple[str, ...] = ()
    json: str = ""
    edited_arguments_json: str = ""
    scope: ApprovalScope = ApprovalScope.UNSPECIFIED
    content: Parts = ()
    is_error: bool = False
    plan_version: int = 0


@value
class InputProgress:
    """How far the work behind an input is, from 0 to 1."""

    fraction: float = 0.0
    message: str = ""


@value
class InputRequest:
    """What a run asked, and what was answered."""

    input_id: InputId
    thread_id: ThreadId
    run_id: RunId
    kind: InputKind
    state: InputState
    call_id: CallId = CallId("")
    prompt: str = ""
    options: tuple[InputOption, ...] = ()
    free_text: bool = False
    json_schema: str = ""
    tool: str = ""
    arguments_json: str = ""
    expire_time: Micros | None = None
    default_state: InputState = InputState.CANCELLED
    default_answer_json: str = ""
    resolved_by: Actor | None = None
    create_time: Micros | None = None
    resolve_time: Micros | None = None
    answer: InputAnswer | None = None
    tool_digest: str = ""
    thread_scope_refused: bool = False
    """Whether an approval counts for one call only: the tool publishes or spends (SEMANTICS 27)."""
