"""The first facts of a run whose turn finds its lane free: they are committed together with the turn.

A worker that takes a run at once would say that it has started, and that it asks the model, right after the turn was
accepted. Where both are certain beforehand, they go into the accepting transaction: a commit less before the first
words. Where anything has to be looked at first, the worker says them itself, as it does after every later claim.
"""

from heddle_core.ids import Ids, MessageId, RunId, StepId, WorkerId
from heddle_core.values import value
from heddle_runtime.orchestrator.compacting import overdue
from heddle_runtime.orchestrator.setup import Setup
from heddle_runtime.runs.turn import AgentReference, Turn, TurnMode
from heddle_runtime.threads.events import Payload, RunStarted, StepStarted
from heddle_runtime.threads.state import ThreadFold

_FIRST_FENCE = 1
_FIRST_ATTEMPT = 1


@value
class Beginning:
    """What a worker begins with."""

    setup: Setup
    started: RunStarted
    step: StepStarted

    @property
    def facts(self) -> tuple[Payload, ...]:
        """What to commit behind the turn."""
        return (self.started, self.step)


def beginning(setup: Setup, thread: ThreadFold | None, turn: Turn, worker_id: WorkerId, ids: Ids) -> Beginning | None:
    """How a turn begins on a free lane; None where that depends on more than is known here.

    Args:
        setup: what the run would be worked on with.
        thread: the thread as it stands; None for one that is made with the turn.
        turn: as resolved.
        worker_id: who takes the run.
        ids: for the step and its message.
    """
    bounded_by_parent = turn.parent is not None
    if bounded_by_parent or turn.mode is TurnMode.PLAN:
        return None
    if thread is not None and overdue(thread, RunId(""), setup.history_window):
        return None
    agent = turn.agent or AgentReference("")
    started = RunStarted(_FIRST_ATTEMPT, _FIRST_FENCE, worker_id, agent, setup.model, setup.tools.digest)
    message_id = MessageId(ids.new("msg"))
    return Beginning(setup, started, StepStarted(StepId(ids.new("step")), 1, 1, message_id, model=setup.model))
