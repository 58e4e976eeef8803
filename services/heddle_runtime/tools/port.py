"""What a tool is to Heddle: its declaration, one call of it, what the call yields, and what can go wrong.

The only words that the tool loop and the providers share. The rules are those of `heddle.tools.v1`; no message of
that contract passes this file.
"""

import hashlib
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum, IntEnum
from typing import Protocol

from heddle_core.clock import Micros
from heddle_core.ids import CallId, InputId, PrincipalId, RunId, TenantId, ThreadId
from heddle_core.usage import MicroUsd
from heddle_core.values import value
from heddle_runtime.runs.content import Parts
from heddle_runtime.runs.inputs import InputOption

DEFAULT_DEADLINE = timedelta(seconds=60)
"""How long a call may take if its tool does not say (contract: Tool.deadline)."""

NO_ARGUMENTS = '{"type":"object","additionalProperties":false}'
"""What an empty schema stands for (contract: Tool.parameters_json)."""


# --- a tool ----------------------------------------------------------------------------------------------


class RiskClass(IntEnum):
    """What a tool can do to the world, from harmless to dear; the numbers are the contract's."""

    READ = 1
    WRITE = 2
    PUBLISH = 3
    SPEND = 4
    CODE = 5


@value
class ToolSpec:
    """One tool as its provider declares it."""

    provider_id: str
    name: str
    """1 to 64 letters, digits, underscores and hyphens; unique in its provider."""
    description: str
    parameters_json: str = NO_ARGUMENTS
    """JSON Schema (2020-12) of the arguments, an object."""
    risk: RiskClass = RiskClass.WRITE
    read_only: bool = False
    idempotent: bool = False
    needs_approval: bool = False
    deadline: timedelta = DEFAULT_DEADLINE
    price: MicroUsd = MicroUsd(0)
    category: str = ""

    @property
    def path(self) -> str:
        """How operators and agents name it: `provider/name`."""
        return f"{self.provider_id}/{self.name}"

    @property
    def schema_digest(self) -> str:
        """SHA-256 in hex of name, description and schema as declared, each behind its length in 8 bytes.

        An approval for a thread binds it: a tool that changes its words or its schema must be approved anew.
        """
        digest = hashlib.sha256()
        for text in (self.name, self.description, self.parameters_json):
            encoded = text.encode()
            digest.update(len(encoded).to_bytes(8, "big") + encoded)
        return digest.hexdigest()

    @property
    def repeatable(self) -> bool:
        """Whether a call with unknown outcome may be sent again under the same key (promise P8)."""
        return self.idempotent or self.read_only

    @property
    def asks_in_doubt(self) -> bool:
        """Whether a person is asked how a call in doubt ended (SEMANTICS 27); else the model is told.

        The doubt about an idempotent tool is that nobody reaches it: a person cannot know more, and whoever waits for
        the call would wait for nothing. Of what is dear or seen by the public somebody should know all the same.
        """
        return self.risk > RiskClass.WRITE or (self.risk is RiskClass.WRITE and not self.idempotent)


# --- a call ----------------------------------------------------------------------------------------------


@value
class CallContext:
    """Where a call comes from."""

    tenant: TenantId
    principal: PrincipalId
    thread_id: ThreadId
    run_id: RunId
    call_id: CallId
    fence: int
    """Grows with every claim of the run; a tool that remembers it can refuse a stale owner."""
    deadline: Micros
    """When the runtime stops waiting, by the wall clock."""
    input_id: InputId
    """What ResolveInput answers if the tool defers; valid before the call is sent (SEMANTICS 26)."""
    resolution_token: str = field(repr=False)
    """Lets its bearer resolve `input_id` and nothing else: a secret."""


@value
class ToolInvocation:
    """One call that was admitted: its intent is on record, and its arguments fit the schema."""

    spec: ToolSpec
    arguments_json: str
    """The exact text that was validated and approved (SEMANTICS 27)."""
    idempotency_key: str
    context: CallContext
    dry_run: bool = False
    """Whether only to say what would happen; a tool that cannot must answer with an error."""


# --- what a call yields ----------------------------------------------------------------------------------


@value
class ToolProgress:
    """How far a call is. Zero with an empty message means unknown."""

    fraction: float = 0.0
    """0 to 1."""
    message: str = ""


@value
class ToolReply:
    """The result of a call."""

    ok: bool
    content: Parts = ()
    """What the model reads."""
    ui_blocks_json: tuple[str, ...] = ()
    """UI blocks for people, each a JSON object."""
    cost: MicroUsd | None = None
    """What the call really cost; None for the declared price."""
    next_actions: tuple[str, ...] = ()
    """What the caller may want to do next, one line each, for the model."""


@value
class ToolDeferral:
    """The result comes later, through ResolveInput."""

    message: str = ""
    expire_time: Micros | None = None
    """When to give up; None for the runtime's default."""


@value
class ToolQuestion:
    """The result is a person's answer. Only tools inside the runtime can ask: the contract has no message for it."""

    prompt: str
    options: tuple[InputOption, ...] = ()
    free_text: bool = False
    json_schema: str = ""
    expire_after: timedelta | None = None
    """None for the runtime's default."""


ToolEnd = ToolReply | ToolDeferral | ToolQuestion
"""What ends a call: exactly one of these."""

ToolEvent = ToolProgress | ToolEnd


# --- what can go wrong -----------------------------------------------------------------------------------


class ToolFaultKind(Enum):
    """Whether the effect can have happened, which is what decides what to do next."""

    NOT_SENT = "not sent"
    """The tool never saw the call: nothing happened."""
    REFUSED = "refused"
    """The provider saw the call and did not take it: nothing happened."""
    IN_DOUBT = "in doubt"
    """The call was sent and its end was not heard: it may have happened."""


@dataclass(eq=False)
class ToolFault(Exception):
    """A call, or a listing, that did not come to an end."""

    kind: ToolFaultKind
    message: str
    """What happened and what to do; shown to the model and to people."""
    deadline_passed: bool = field(default=False, kw_only=True)
    """Whether it was given up because its time was over."""
    reason: str = field(default="", kw_only=True)
    """Why the provider does not let this runtime in, as a reason of `heddle.common.v1.ErrorReason`; empty: it does."""

    def __str__(self) -> str:
        return self.message


# --- the port --------------------------------------------------------------------------------------------


class ToolProvider(Protocol):
    """A source of tools. One object serves many calls at once.

    Every provider keeps these guarantees, and `tests/contract/test_tools_provider.py` holds them to it:

    * a call yields any number of `ToolProgress` and then exactly one `ToolEnd`, or raises `ToolFault`, or is
      cancelled; where the other side breaks that rule, its events are passed on as they came;
    * a call is sent once: nothing is tried again here;
    * NOT_SENT and REFUSED are said only if the effect certainly did not happen.
    """

    @property
    def provider_id(self) -> str:
        """The first part of its tools' paths; of Heddle's id alphabet."""
        ...

    @property
    def confirms_stop(self) -> bool:
        """Whether the end of a cancelled call proves that the tool ended without effect.

        False where a hang-up cannot be answered, as in gRPC.
        """
        ...

    async def list_tools(self) -> tuple[ToolSpec, ...]:
        """The tools as they are declared now, unchecked. Raises `ToolFault`."""
        ...

    def call(self, invocation: ToolInvocation) -> AsyncGenerator[ToolEvent, None]:
        """Perform a call. Cancelling the task that reads the iterator tells the tool to stop.

        A tool that is told so and knows its end already may still yield it, at once: a result is better than a
        doubt. Read and close it in one and the same task. Raises `ToolFault`.
        """
        ...

    async def close(self) -> None:
        """Give back connections. Calls under way must have ended."""
        ...
