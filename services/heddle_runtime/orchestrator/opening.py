"""How a worker says that it goes on with a run: the first fact of every claim. Pure."""

from heddle_runtime.runs.claim import Claim
from heddle_runtime.runs.turn import AgentReference
from heddle_runtime.threads.events import Payload, RunResumed, RunStarted
from heddle_runtime.threads.state import RunFold


def opening(claim: Claim, run: RunFold, model: str, tools_digest: str = "") -> tuple[Payload, ...]:
    """RunStarted at the first claim, RunResumed at a later one; nothing where it is said already.

    A cancelled run is not started any more, only settled. Whatever else is written under a claim comes behind this:
    a run that nobody has started cannot complete, fail or wait.
    """
    if run.cancel_sequence or run.fence == claim.fence:
        return ()
    if run.attempt == 0:
        agent = run.agent or AgentReference("")
        return (RunStarted(claim.attempt, claim.fence, claim.worker_id, agent, model, tools_digest),)
    return (RunResumed(claim.attempt, claim.fence, claim.worker_id),)
