"""Whether what a provider serves is what it may declare: checked when its tools are loaded, never in a turn."""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import timedelta

from heddle_runtime.tools.port import RiskClass, ToolSpec
from heddle_runtime.tools.schema import Schemas

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What every model provider accepts as the name of a function (contract: Tool.name)."""
MOST_TOOLS = 1_000
"""Of one provider."""
MOST_DESCRIPTION = 4_096
SHORTEST_DEADLINE = timedelta(seconds=1)
LONGEST_DEADLINE = timedelta(hours=1)

_MOST_TOLD = 3


def problem_of_tools(
    specs: Sequence[ToolSpec], *, provider_id: str, offered: Collection[str], schemas: Schemas
) -> str | None:
    """Why the tools that `provider_id` serves are refused, all of them; None if they are sound.

    `offered` are the names that the provider was registered with; empty for all that it serves. One bad tool refuses
    its provider: an agent that works with half of its tools does something else than what was asked for.
    """
    problems = [f"it serves {len(specs)} tools, and at most {MOST_TOOLS} are loaded"][: len(specs) > MOST_TOOLS]
    for name, count in Counter(spec.name for spec in specs).items():
        if count > 1:
            problems.append(f"it serves {name[:64]} {count} times: names are unique in a provider")
    absent = sorted(set(offered) - {spec.name for spec in specs})
    if absent:
        problems.append(f"it does not serve {', '.join(absent[:5])}, which it was registered with")
    for spec in specs[:MOST_TOOLS]:
        problem = _problem_of_tool(spec, provider_id, schemas)
        if problem is not None:
            problems.append(f"{spec.name[:64]!r}: {problem}")
    if not problems:
        return None
    more = f"; and {len(problems) - _MOST_TOLD} more" if len(problems) > _MOST_TOLD else ""
    return "; ".join(problems[:_MOST_TOLD]) + more


def _problem_of_tool(spec: ToolSpec, provider_id: str, schemas: Schemas) -> str | None:
    if spec.provider_id != provider_id:
        return f"it says to be of provider {spec.provider_id[:64]}"
    if NAME.fullmatch(spec.name) is None:
        return "a name is 1 to 64 letters, digits, underscores and hyphens"
    if not spec.description.strip():
        return "it lacks a description: a model cannot choose it"
    if len(spec.description) > MOST_DESCRIPTION or "\0" in spec.description:
        return f"a description has at most {MOST_DESCRIPTION} characters, without NUL"
    if not SHORTEST_DEADLINE <= spec.deadline <= LONGEST_DEADLINE:
        return "a deadline lies between 1 s and 1 h"
    if spec.price < 0:
        return "a price is not negative"
    if spec.read_only and spec.risk is not RiskClass.READ:
        return f"it is declared read-only and of risk {spec.risk.name}: one of both is wrong"
    return schemas.problem_of_schema(spec.parameters_json, of_object=True)
