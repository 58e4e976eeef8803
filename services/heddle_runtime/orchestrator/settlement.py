"""How a run is closed before it ends: every call gets its result, every input its end (P9, SEMANTICS 17). Pure."""

from heddle_runtime.orchestrator.setup import Setup
from heddle_runtime.runs.content import Text
from heddle_runtime.runs.run import CancelCause
from heddle_runtime.runs.state import InputState
from heddle_runtime.threads.events import InputResolved, Payload, RunCancelled, ToolCallCompleted, ToolCallOutcome
from heddle_runtime.threads.state import CallFold, RunFold
from heddle_runtime.tools.selection import Found


def closing(run: RunFold, setup: Setup | None) -> tuple[Payload, ...]:
    """Results for open calls and ends for open inputs. Without a setup, tools are known by what their calls keep."""
    inputs = tuple(InputResolved(input_id, InputState.CANCELLED) for input_id in run.inputs)
    return inputs + tuple(_closed(call, setup) for call in run.open_calls)


def cancelled(run: RunFold, setup: Setup | None) -> tuple[Payload, ...]:
    """The last facts of a run that was cancelled."""
    rolled_back = run.cancel_cause is CancelCause.ROLLED_BACK
    return (*closing(run, setup), RunCancelled(run.cancel_cause, rolled_back, run.usage))


def _closed(call: CallFold, setup: Setup | None) -> ToolCallCompleted:
    if not call.started:
        return ToolCallCompleted(call.call_id, ToolCallOutcome.CANCELLED, (Text("The call was not sent."),))
    if _only_reads(call, setup):
        return ToolCallCompleted(call.call_id, ToolCallOutcome.CANCELLED, (Text("The call was stopped."),))
    unknown = (Text("The call was sent, and whether it took effect is not known."),)
    return ToolCallCompleted(call.call_id, ToolCallOutcome.UNKNOWN, unknown)


def _only_reads(call: CallFold, setup: Setup | None) -> bool:
    if call.terms is not None:
        return call.terms.read_only
    found = setup.tools.find(call.tool) if setup else None
    return isinstance(found, Found) and found.spec.read_only
