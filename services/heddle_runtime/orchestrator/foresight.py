"""What a run would be if some facts were written: decisions are made on it before the facts are on disk. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from heddle_core.clock import Micros
from heddle_runtime.threads.events import Event, Payload
from heddle_runtime.threads.fold import apply
from heddle_runtime.threads.state import Exchange, RunFold, ThreadFold


def foresee(thread: ThreadFold, run: RunFold, facts: Sequence[Payload], now: Micros) -> RunFold:
    """The run after `facts`, by the one fold; `run` itself is left as it is."""
    if not facts:
        return run
    copy = replace(
        run,
        step=replace(run.step) if run.step else None,
        calls={call_id: replace(call) for call_id, call in run.calls.items()},
        inputs=dict(run.inputs),
        resolutions=dict(run.resolutions),
        steered=list(run.steered),
        children=dict(run.children),
        exchange=Exchange(run.run_id, list(run.exchange.entries), run.exchange.context),
    )
    stage = ThreadFold(thread.thread_id, runs={run.run_id: copy}, active_run_id=run.run_id)
    for number, payload in enumerate(facts, 1):
        apply(stage, Event(number, run.run_id, now, payload))
    return copy
