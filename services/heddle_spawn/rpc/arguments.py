"""What a model's arguments ask for, as specs. They were valid under the schema when the runtime sent them; whoever
else sends others is refused by field.
"""

import json
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from heddle_client.values import Bounds, Text
from heddle_core.errors import InvalidField
from heddle_core.faults import Violation
from heddle_spawn.rules.spawns import DEFAULT_DEADLINE, FanIn, GroupSpec, SpawnSpec, WantedAsset

_Seconds = Annotated[int, Field(ge=1, le=604_800)]
_Task = Annotated[str, Field(min_length=1, max_length=32_000)]


class _Arguments(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class BudgetArguments(_Arguments):
    """A slice of the caller's budget."""

    tokens: Annotated[int, Field(ge=1, le=1 << 53)] | None = None
    cost_usd: Annotated[float, Field(gt=0, le=1_000_000)] | None = None
    steps: Annotated[int, Field(ge=1, le=1_000)] | None = None
    tool_calls: Annotated[int, Field(ge=1, le=10_000)] | None = None

    @property
    def bounds(self) -> Bounds:
        """As bounds; a price is rounded up to a whole millionth."""
        cost = -int(-(self.cost_usd or 0) * 1_000_000 // 1)
        return Bounds(self.steps or 0, self.tokens or 0, cost, self.tool_calls or 0)


class _Work(_Arguments):
    task: _Task
    context: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    budget: BudgetArguments | None = None
    deadline_seconds: _Seconds | None = None

    @property
    def shared(self) -> dict[str, Any]:
        """What all kinds of children have."""
        return {
            "task": (Text(self.task),),
            "context": tuple(Text(each) for each in self.context),
            "budget": self.budget.bounds if self.budget is not None else None,
            "deadline": timedelta(seconds=self.deadline_seconds) if self.deadline_seconds else DEFAULT_DEADLINE,
        }


class AgentArguments(_Work):
    """Of `spawn_agent`, and of each child of `spawn_group`."""

    agent: Annotated[str, Field(min_length=1, max_length=64)]
    tools: tuple[str, ...] = ()
    result_schema: dict[str, Any] | None = None

    def spec(self, spawn_key: str) -> SpawnSpec:
        """The spec under a key."""
        schema = json.dumps(self.result_schema) if self.result_schema is not None else ""
        return SpawnSpec(spawn_key, agent_id=self.agent, tools=self.tools, result_schema_json=schema, **self.shared)


class AssetArguments(_Work):
    """Of `request_asset`."""

    kind: Literal["image", "video", "audio", "text"]

    def spec(self, spawn_key: str) -> SpawnSpec:
        """The spec under a key."""
        return SpawnSpec(spawn_key, wanted_asset=WantedAsset[self.kind.upper()], **self.shared)


class GroupArguments(_Arguments):
    """Of `spawn_group`."""

    children: tuple[AgentArguments, ...] = ()
    stages: tuple[tuple[AgentArguments, ...], ...] = ()
    wait_for: Literal["all", "any", "first"] = "all"
    count: Annotated[int, Field(ge=1, le=64)] | None = None
    stop_on_failure: bool = False
    deadline_seconds: _Seconds | None = None

    def spec(self, group_key: str) -> GroupSpec:
        """The spec under a key. Raises InvalidField where not exactly one of children and stages is given."""
        if bool(self.children) == bool(self.stages):
            raise InvalidField((Violation("children", "give either children or stages"),))
        stages = self.stages or (self.children,)
        return GroupSpec(
            group_key,
            stages=tuple(
                tuple(child.spec(f"{group_key}-{number}-{place}") for place, child in enumerate(stage, start=1))
                for number, stage in enumerate(stages, start=1)
            ),
            fan_in={"all": FanIn.ALL, "any": FanIn.ANY, "first": FanIn.FIRST_N}[self.wait_for],
            fan_in_count=self.count or 0,
            stop_on_failure=self.stop_on_failure,
            deadline=timedelta(seconds=self.deadline_seconds or 0),
        )


KINDS: Mapping[str, type[AgentArguments] | type[GroupArguments] | type[AssetArguments]] = {
    "spawn_agent": AgentArguments,
    "spawn_group": GroupArguments,
    "request_asset": AssetArguments,
}
"""The arguments of each tool."""
