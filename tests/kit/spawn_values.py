"""Children, groups and runs as values, for tests of the rules of delegation."""

from typing import Any

from heddle_client.values import Bounds, RunState, RunView, Text
from heddle_core.clock import Micros
from heddle_core.requests import Creator
from heddle_core.usage import Usage
from heddle_spawn.rules.spawns import Group, GroupSpec, Origin, Spawn, SpawnSpec
from heddle_spawn.rules.states import SpawnState

ADA = Creator("acme", "ada")
HERE = Origin(ADA, parent_run_id="run_1", parent_thread_id="thr_1", root_run_id="run_1", depth=1)


def spec_of(key: str = "k", **fields: Any) -> SpawnSpec:
    return SpawnSpec(**{"spawn_key": key, "task": (Text("work"),), "agent_id": "worker", **fields})


def spawn_of(key: str = "k", state: SpawnState = SpawnState.RUNNING, **fields: Any) -> Spawn:
    given: dict[str, Any] = {
        "spawn_id": f"spn_{key}",
        "origin": HERE,
        "spec": spec_of(key),
        "fingerprint": b"f",
        "create_time": Micros(1),
        "deadline_at": Micros(10**15),
        "agent_id": "worker",
        "agent_version": 1,
        "state": state,
    }
    return Spawn(**{**given, **fields})


def run_of(state: RunState = RunState.RUNNING, **fields: Any) -> RunView:
    given: dict[str, Any] = {
        "run_id": "run_1",
        "thread_id": "thr_1",
        "state": state,
        "agent_id": "lead",
        "agent_version": 1,
        "parent_run_id": "",
        "root_run_id": "run_1",
        "depth": 0,
        "usage": Usage(),
        "limits": Bounds(),
        "request_sequence": 1,
    }
    return RunView(**{**given, **fields})


def group_of(*sizes: int, **fields: Any) -> Group:
    stages = tuple(tuple(spec_of(f"{stage}-{place}") for place in range(size)) for stage, size in enumerate(sizes))
    spec_fields = {name: fields.pop(name) for name in ("fan_in", "fan_in_count", "stop_on_failure") if name in fields}
    spec = GroupSpec("g", stages, **spec_fields)
    return Group("spg_1", HERE, spec, b"f", Micros(1), Micros(10**15), **fields)


def members(group: Group, *states: SpawnState) -> list[Spawn]:
    places = [(number, place) for number, stage in enumerate(group.spec.stages) for place in range(len(stage))]
    return [
        spawn_of(f"{stage}-{place}", state, stage=stage, position=place)
        for (stage, place), state in zip(places, states, strict=True)
    ]


P, R, C, F, X = (
    SpawnState.PENDING,
    SpawnState.RUNNING,
    SpawnState.COMPLETED,
    SpawnState.FAILED,
    SpawnState.CANCELLED,
)
