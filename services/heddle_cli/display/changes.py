"""What an apply does or would do, as a diff for people and as values for programs."""

from collections.abc import Iterator
from difflib import ndiff
from typing import Any

from rich.text import Text

from heddle.campaign.v1alpha1.campaign_pb2 import CampaignState
from heddle_cli.display.screen import clean
from heddle_cli.manifests.changes import FieldChange
from heddle_cli.manifests.messages import enum_word
from heddle_cli.manifests.plan import Action, AgentStep, CampaignStep, Plan, Step

_SIGNS = {
    Action.CREATE: ("+", "green"),
    Action.UPDATE: ("~", "yellow"),
    Action.UNCHANGED: ("=", "dim"),
    Action.REMOVE: ("-", "red"),
}
_ONE_LINE = 60
"""Characters up to which old and new stand side by side."""


def step_lines(step: Step) -> Iterator[Text]:
    """One thing: what is done with it, then its fields that change."""
    sign, style = _SIGNS[step.action]
    told = f"{sign} {step_name(step)}" + (f": {step.note}" if step.note else "")
    yield Text(clean(told + (f"  ({step.document.file})" if step.document else "")), style=style)
    if step.action is Action.REMOVE:
        return
    for change in step.changes:
        yield from _field_lines(change)
    if isinstance(step, CampaignStep) and step.state_to != step.state_from:
        yield from _field_lines(FieldChange("state", _state(step.state_from), _state(step.state_to)))


def summary(plan: Plan, *, dry_run: bool) -> str:
    """How many of each, in one line."""
    words = {
        Action.CREATE: ("created", "to create"),
        Action.UPDATE: ("changed", "to change"),
        Action.UNCHANGED: ("unchanged", "unchanged"),
        Action.REMOVE: ("removed", "to remove"),
    }
    counts = {action: sum(each.action is action for each in plan.steps) for action in Action}
    told = ", ".join(f"{counts[action]} {words[action][dry_run]}" for action in Action if counts[action])
    return f"{plan.managed_by}: {told or 'nothing to do'}"


def step_value(step: Step, made_id: str = "") -> dict[str, Any]:
    """One thing for programs."""
    agent = isinstance(step, AgentStep)
    value: dict[str, Any] = {
        "kind": "agent" if agent else "campaign",
        "name": step.agent_id if agent else step.name,
        "id": step.agent_id if agent else (made_id or step.campaign.campaign_id),
        "action": step.action.value,
        "file": step.document.file if step.document else "",
        "note": step.note,
        "fields": [{"field": each.field, "before": each.before, "after": each.after} for each in step.changes],
    }
    if not agent:
        value["state"] = _state(step.state_from if step.action is Action.REMOVE else step.state_to)
    return value


def step_name(step: Step) -> str:
    """As `agent writer` or `campaign shoes campaign_1`."""
    if isinstance(step, AgentStep):
        return f"agent {step.agent_id}"
    return f"campaign {step.name}" + (f" {step.campaign.campaign_id}" if step.campaign.campaign_id else "")


def _field_lines(change: FieldChange) -> Iterator[Text]:
    before, after = change.before, change.after
    if before is None or after is None:
        sign, style, said = ("+", "green", after) if before is None else ("-", "red", before)
        for number, line in enumerate((said or "").rstrip("\n").splitlines() or [""]):
            yield _line(sign, style, f"{change.field}: {line}" if number == 0 else f"  {line}")
    elif max(len(before), len(after)) <= _ONE_LINE and "\n" not in before + after:
        yield _line("~", "yellow", f"{change.field}: {before or '(empty)'} -> {after or '(empty)'}")
    else:
        yield _line("~", "yellow", f"{change.field}:")
        for line in ndiff(before.splitlines(), after.splitlines()):
            if line[0] in "+-":
                yield _line(f"  {line[0]}", "green" if line[0] == "+" else "red", line[2:])


def _line(sign: str, style: str, words: str) -> Text:
    return Text(clean(f"    {sign} {words}"), style=style)


def _state(state: CampaignState.ValueType) -> str:
    return enum_word(CampaignState.DESCRIPTOR, state)
