"""How a child ends, from how its run did and why it was stopped. Pure."""

from dataclasses import dataclass

from heddle_client.values import CancelCause, RunState, RunView
from heddle_spawn.rules.spawns import SpawnFailure, SpawnResult
from heddle_spawn.rules.states import Change, Stop


@dataclass(frozen=True, slots=True)
class StopWords:
    """What a stop makes of a child, and what is said of it."""

    change: Change
    reason: str
    message: str

    @property
    def failure(self) -> SpawnFailure:
        """Why the child has no result."""
        return SpawnFailure(self.reason, self.message)


STOPS = {
    Stop.ASKED: StopWords(Change.CANCEL, "CANCELLED", "It was cancelled by CancelSpawn."),
    Stop.DEADLINE: StopWords(Change.TIME_OUT, "DEADLINE_PASSED", "Its deadline passed before it was done."),
    Stop.PARENT: StopWords(Change.CANCEL, "PARENT_CANCELLED", "Its parent run was cancelled or has ended."),
    Stop.NOT_NEEDED: StopWords(Change.CANCEL, "NOT_NEEDED", "Enough of its group were done without it."),
    Stop.STAGE_FAILED: StopWords(Change.CANCEL, "STAGE_FAILED", "A child of the stage before failed."),
}


@dataclass(frozen=True, slots=True)
class End:
    """What a child's row says in the end."""

    change: Change
    stop: Stop
    failure: SpawnFailure | None = None
    result: SpawnResult | None = None


def end_of_run(run: RunView, stop: Stop) -> End:
    """The end of a child whose run is terminal. An answer counts, even one that came after it was told to stop."""
    if run.state is RunState.COMPLETED:
        return End(Change.COMPLETE, stop, result=SpawnResult(run.parts, run.structured_json, run.usage.tool_calls))
    if run.state is RunState.FAILED:
        return End(Change.FAIL, stop, SpawnFailure(run.failure_reason, run.failure_message))
    if run.cancel_cause is CancelCause.PARENT:
        return End(Change.CANCEL, Stop.PARENT, STOPS[Stop.PARENT].failure)
    if stop is not Stop.NONE:
        return End(STOPS[stop].change, stop, STOPS[stop].failure)
    cause = run.cancel_cause.name.replace("_", " ").lower()
    return End(Change.CANCEL, stop, SpawnFailure("CANCELLED", f"Its run was stopped ({cause})."))
