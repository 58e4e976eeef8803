"""What a run would be if some facts were written: decisions are made on it before the facts are on disk. Pure."""

from collections.abc import Sequence
from dataclasses import fields
from operator import attrgetter
from typing import TypeVar

from heddle_core.clock import Micros
from heddle_runtime.threads.events import Event, Payload
from heddle_runtime.threads.fold import take_effect
from heddle_runtime.threads.state import CallFold, Exchange, RunFold, StepFold, ThreadFold

T = TypeVar("T", RunFold, StepFold, CallFold)

_VALUES = {kind: attrgetter(*(field.name for field in fields(kind))) for kind in (RunFold, StepFold, CallFold)}


def foresee(thread: ThreadFold, run: RunFold, facts: Sequence[Payload], now: Micros) -> RunFold:
    """The run after `facts`, by the one fold; `run` itself is left as it is."""
    if not facts:
        return run
    copy = _copy(run)
    copy.step = _copy(run.step) if run.step else None
    copy.calls = {call_id: _copy(call) for call_id, call in run.calls.items()}
    copy.inputs = dict(run.inputs)
    copy.resolutions = dict(run.resolutions)
    copy.steered = list(run.steered)
    copy.children = dict(run.children)
    copy.exchange = Exchange(run.run_id, list(run.exchange.entries), run.exchange.context)
    stage = ThreadFold(thread.thread_id, runs={run.run_id: copy}, active_run_id=run.run_id)
    for number, payload in enumerate(facts, 1):
        take_effect(stage, Event(number, run.run_id, now, payload))
    return copy


def _copy(value: T) -> T:
    """A shallow copy. A fifth of what `dataclasses.replace` costs, and a step makes several."""
    kind = type(value)
    return kind(*_VALUES[kind](value))
