"""Which of the fault suite's places lie behind an append: said by what was appended."""

from collections.abc import Sequence

from heddle_core.failpoints import armed, failpoint
from heddle_runtime.threads.events import RUN_ENDS, Payload, RunWaiting, ToolCallCompleted


def committed(facts: Sequence[Payload]) -> None:
    """Pass the places that these facts, committed this moment, lead through."""
    if not armed():
        return
    for fact in facts:
        match fact:
            case ToolCallCompleted():
                failpoint("result_committed")
            case RunWaiting():
                failpoint("input_requested")
            case _ if isinstance(fact, RUN_ENDS):
                failpoint("terminal_committed")
            case _:
                pass
