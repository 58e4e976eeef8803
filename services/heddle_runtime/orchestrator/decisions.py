"""All that an orchestrator can decide to do next: a closed set."""

from heddle_core.ids import InputId
from heddle_core.values import value
from heddle_runtime.runs.run import RunFailure
from heddle_runtime.threads.events import BudgetExceeded, Payload
from heddle_runtime.threads.state import CallFold, Exchange
from heddle_runtime.tools.port import ToolSpec


@value
class Settle:
    """The run is cancelled: close what is open, and end it."""


@value
class Fail:
    """The run gives up: close what is open, and end it."""

    failure: RunFailure
    exceeded: BudgetExceeded | None = None


@value
class Record:
    """Facts that need nothing from outside: results that are known already, questions that must be asked."""

    facts: tuple[Payload, ...]


@value
class Dispatch:
    """Send these calls at the same time: one, or several that only read."""

    calls: tuple["ReadyCall", ...]


@value
class ReadyCall:
    """A call whose arguments are valid and approved."""

    call: CallFold
    spec: ToolSpec
    arguments_json: str
    ordinal: int
    """Place of the call in its run, from 1: its minted input's id is made of it."""


@value
class Wait:
    """Nothing can be done until one of these inputs is resolved."""

    input_ids: tuple[InputId, ...]


@value
class Compact:
    """Summarise what leaves the window, before the model is asked for the first time."""

    exchanges: tuple[Exchange, ...]


@value
class Ask:
    """Ask the model."""

    number: int
    """Number of the step, from 1."""
    again: bool
    """Whether this is another attempt at the step that began last."""
    with_tools: bool


@value
class Complete:
    """The model has answered, and nobody has added anything."""


Decision = Settle | Fail | Record | Dispatch | Wait | Compact | Ask | Complete
