"""The fold as bytes: how stored snapshots and the base of a fork are written and read.

JSON, because a fork's base stays in the log for ever and must be readable by every later version.
"""

from functools import cache

from pydantic import TypeAdapter

from heddle_core.ids import ThreadId
from heddle_runtime.threads.state import ThreadFold


def encode(state: ThreadFold) -> bytes:
    """The state as JSON bytes."""
    return _adapter().dump_json(state)


def decode(body: bytes, thread_id: ThreadId) -> ThreadFold:
    """The state from its bytes, under the id `thread_id`.

    Raises:
        pydantic.ValidationError: the bytes are no state of this version.
    """
    state = _adapter().validate_json(body)
    state.thread_id = thread_id
    _join_exchanges(state)
    return state


@cache
def _adapter() -> TypeAdapter[ThreadFold]:
    return TypeAdapter(ThreadFold)


def _join_exchanges(state: ThreadFold) -> None:
    """Make a run's exchange and its place in the history one object again: what the run says next goes into both."""
    placed = {exchange.run_id: exchange for exchange in state.history}
    runs = [*state.runs.values(), *([state.last_run] if state.last_run else [])]
    for run in runs:
        run.exchange = placed.get(run.run_id, run.exchange)
