"""What must hold of parents and children: P16, and what the spawn service promises beside it."""

from collections import Counter, defaultdict
from collections.abc import Iterator

from tests.faults.checker import family_rows as f
from tests.faults.checker import rows, wire
from tests.faults.checker.evidence import Evidence, Key, Line, Violation
from tests.faults.checker.kinship import calls_of_tools, json_object, parents

MOST_DEPTH, MOST_CHILDREN = 3, 8
"""Bounds of the tree, as they are unless somebody sets them."""

SETTLE_SECONDS = 60.0

BOUNDS = ("DEPTH_EXCEEDED", "FAN_OUT_EXCEEDED", "BUDGET_EXCEEDED")
"""Why a child is refused."""

_UNEXPLAINED = ("INTERNAL", "UNKNOWN")


def p16_one_child(evidence: Evidence) -> Iterator[Violation]:
    """A key of a family names one child, and a child has one run, whoever started it and how often."""
    for key, times in Counter((each.tenant, each.family, each.spawn_key) for each in _spawns(evidence)).items():
        if times > 1:
            yield Violation("P16", f"{key} names {times} children")
    started: dict[Key, list[str]] = defaultdict(list)
    for place in evidence.families.places:
        if place.trigger_kind == f.SPAWN_TRIGGER:
            started[place.tenant, place.trigger_reference].append(place.run_id)
    for key, runs in started.items():
        if len(runs) > 1:
            yield Violation("P16", f"child {key} was started {len(runs)} times: {runs}")


def p16_no_orphan(evidence: Evidence) -> Iterator[Violation]:
    """Every run that the spawn service has started is one of its children, and stands where that says."""
    children = {each.key: each for each in _spawns(evidence)}
    for place in evidence.families.places:
        if place.trigger_kind != f.SPAWN_TRIGGER:
            continue
        child = children.get((place.tenant, place.trigger_reference))
        if child is None or child.run_id != place.run_id:
            knows = "nobody" if child is None else child.run_id or "no run"
            yield Violation("P16", f"{place.key} is an orphan: child {place.trigger_reference} knows of {knows}")
    for child in children.values():
        place = evidence.families.by_key.get((child.tenant, child.run_id))
        if not child.run_id:
            continue
        if place is None:
            yield Violation("P16", f"{child.key}: the runtime knows nothing of its run {child.run_id}")
            continue
        root = child.root_run_id or child.run_id
        of_child = (child.parent_run_id, root, child.depth, child.thread_id)
        of_run = (place.parent_run_id, place.root_run_id or place.run_id, place.depth, place.thread_id)
        if of_child != of_run:
            yield Violation("P16", f"{child.key} stands at {of_child}, and its run at {of_run}")


def p16_all_over(evidence: Evidence) -> Iterator[Violation]:
    """Once everything is healed every child and group is over, and says the same as its run, or as its children."""
    members: dict[Key, list[f.Spawn]] = defaultdict(list)
    for child in _spawns(evidence):
        members[child.tenant, child.group_id].append(child)
        place = evidence.families.by_key.get((child.tenant, child.run_id))
        if not child.terminal:
            yield Violation("P16", f"{child.key} is left in state {f.NAMES[child.state]}")
        elif child.state != f.COMPLETED and place is None:
            continue  # it was refused, or stopped before it began
        elif place is None or place.state not in _STATES_OF_RUN[child.state]:
            run = place.state if place else "none"
            yield Violation("P16", f"{child.key} is {f.NAMES[child.state]}, and its run in state {run}")
    for group in evidence.families.groups:
        last = [each for each in members[group.key] if each.stage == group.last_stage]
        enough = sum(each.state == f.COMPLETED for each in last) >= group.needed
        if not group.terminal:
            yield Violation("P16", f"{group.key} is left in state {f.GROUP_NAMES[group.state]}")
        elif group.state == f.GROUP_COMPLETED and not enough:
            yield Violation("P16", f"{group.key} is COMPLETED, and fewer than {group.needed} of its children are")
        elif group.state != f.GROUP_COMPLETED and enough and not group.stop:
            yield Violation("P16", f"{group.key} is {f.GROUP_NAMES[group.state]}, and enough of its children answered")


def p16_nobody_waits(evidence: Evidence) -> Iterator[Violation]:
    """No parent waits for ever: 60 s after all is healed nothing is open, and every end was told."""
    for line in evidence.clients:
        if line["kind"] == "delegation_settled" and (line["left"] or line["seconds"] > SETTLE_SECONDS):
            yield Violation(
                "P16", f"{line['left'][:5] or 'nothing'} is open {line['seconds']:.0f} s after all is healed"
            )
    cancelled = _cancelled(evidence)
    for call in calls_of_tools(evidence).values():
        if call.deferred and not call.result and call.key not in cancelled:
            yield Violation("P16", f"{call.key} waits for {call.call_id}, and was never told")
    for each in (*_spawns(evidence), *evidence.families.groups):
        if each.told == f.NOT_YET:
            yield Violation("P16", f"{each.key}: its parent was never told")


def p16_told_once(evidence: Evidence) -> Iterator[Violation]:
    """The result of a call is the end of the one child or group that it asked for, and every end told is such a result.

    That there is no second result is P9; that an input is resolved once is P14.
    """
    waited: dict[Key, list[f.Spawn | f.Group]] = defaultdict(list)
    for each in (*_spawns(evidence), *evidence.families.groups):
        if each.input_id:
            waited[each.tenant, each.input_id].append(each)
    calls, cancelled = calls_of_tools(evidence), _cancelled(evidence)
    for key, found in waited.items():
        if len(found) > 1:
            yield Violation("P16", f"{key} is waited with for {[each.key for each in found]}")
        call = calls.get(key)
        stopped = call is not None and call.key in cancelled
        if call is None or (found[0].told == f.TOLD and not call.result and not stopped):
            yield Violation("P16", f"{found[0].key} was told to {key}, and there is no such result")
        elif found[0].told == f.REFUSED and not stopped:
            yield Violation("P16", f"{found[0].key} could not be told to {key}, and nobody has cancelled that run")
    by_group: dict[Key, list[f.Spawn]] = defaultdict(list)
    for child in _spawns(evidence):
        by_group[child.tenant, child.group_id].append(child)
    for key, call in calls.items():
        if not call.deferred or not call.result or call.key in cancelled:
            continue
        found = waited.get(key, [])
        said = json_object(call.result)
        if not found or said != _end_of(found[0], by_group, said):
            yield Violation(
                "P16", f"{call.key} was told of {call.call_id}: {str(said)[:200]}, which is not what came out"
            )


def p16_one_answer(evidence: Evidence) -> Iterator[Violation]:
    """Who asks under a key that was acknowledged finds the same child, or is refused if he asks for something else."""
    asked: dict[tuple[str, ...], list[Line]] = defaultdict(list)
    for call in _client_calls(evidence, "SpawnAgent", "SpawnGroup"):
        family = call["asked"].get("parent_run_id") or f"@{call['principal']}"
        asked[call["tenant"], family, call["method"], call["asked"]["key"]].append(call)
    known = {(each.tenant, each.family, "SpawnAgent", each.spawn_key): each.spawn_id for each in _spawns(evidence)}
    for group in evidence.families.groups:
        known[group.tenant, group.family, "SpawnGroup", group.group_key] = group.group_id
    for key, calls in asked.items():
        answered = [call for call in calls if call["outcome"] == "ok"]
        ids = {call["said"]["group_id"] or next(iter(call["said"]["spawns"]), "") for call in answered}
        if len(ids) > 1:
            yield Violation("P16", f"{key} was told {sorted(ids)}")
        if ids and known.get(key) not in ids:
            yield Violation("P16", f"{key} was acknowledged as {sorted(ids)}, and the rows say {known.get(key)}")
        bodies = {call["asked"]["body"] for call in answered}
        if len(bodies) > 1:
            yield Violation("P16", f"{key} was acknowledged with {len(bodies)} different bodies")
        for call in calls:
            repeats = any(each["at"] < call["began"] and each["asked"] == call["asked"] for each in answered)
            if repeats and call["outcome"] == "refused":
                yield Violation("P16", f"{key} was acknowledged before, and is refused: {call['reason']}")


def p16_cancels(evidence: Evidence) -> Iterator[Violation]:
    """A cancelled parent takes every open child along whose policy says so, and no other; later none begins."""
    cancelled = _cancelled(evidence)
    for key, family in parents(evidence).items():
        for place in family.late:
            yield Violation("P16", f"{place.key} began under {key}, which was cancelled or over")
        for place in family.open_at_cancel:
            if place.cascade and place.key not in cancelled:
                yield Violation("P16", f"{place.key} was open when {key} was cancelled, and went on")
    for place in evidence.families.places:
        if place.cancel_cause == f.CANCELLED_WITH_PARENT and not place.cascade:
            yield Violation("P16", f"{place.key} was to outlive its parent, and was cancelled with it")
    children, groups = {each.key: each for each in _spawns(evidence)}, {each.key: each for each in _groups(evidence)}
    for call in _client_calls(evidence, "CancelSpawn"):
        name = call["asked"].get("spawn_id") or call["asked"].get("group_id", "")
        row = children.get((call["tenant"], name)) or groups.get((call["tenant"], name))
        said = call["said"]
        if call["outcome"] != "ok":
            continue
        over = said["group_state"] >= f.GROUP_COMPLETED or any(each >= f.COMPLETED for each in said["spawns"].values())
        if row is None or not (row.stop or over):
            yield Violation("P16", f"the cancel of {name} was acknowledged, and is not on record")


def p16_budgets(evidence: Evidence) -> Iterator[Violation]:
    """What a parent has used and what it has given away are never more than it has, at any place of its log.

    Beyond that a run comes by one step at most, which was under way: its own, and those of its children.
    """
    families = parents(evidence)
    over = {each.key: max(each.tokens - each.most_tokens, 0) for each in evidence.families.places if each.most_tokens}
    beyond: dict[Key, int] = defaultdict(int)
    for place in evidence.families.places:
        beyond[place.tenant, place.parent_run_id] += over.get(place.key, 0)
    for place in evidence.families.places:
        family = families.get(place.key)
        if not place.most_tokens or family is None:
            continue
        for where, used, held in family.accounts:
            if used + held > place.most_tokens:
                yield Violation("P16", f"{where}: {used} used and {held} given away of {place.most_tokens} tokens")
        for child, granted in family.granted.items():
            most = child.most_tokens
            if not 0 < most <= granted:
                yield Violation("P16", f"{child.key} may use {most} tokens, and was given {granted}")
        if over[place.key] > family.biggest_step + beyond[place.key]:
            yield Violation("P16", f"{place.key} has used {place.tokens} of {place.most_tokens} tokens")


def p16_bounds(evidence: Evidence) -> Iterator[Violation]:
    """No tree is deeper or wider than its bounds; who asks for more is told which run's bound, and what to do."""
    for place in evidence.families.places:
        if place.depth > MOST_DEPTH:
            yield Violation("P16", f"{place.key} stands at depth {place.depth}")
    for key, family in parents(evidence).items():
        if family.most_open > MOST_CHILDREN:
            yield Violation("P16", f"{key} had {family.most_open} open children")
    for call in _client_calls(evidence, "SpawnAgent", "SpawnGroup"):
        clear = call["asked"].get("parent_run_id", "?") in call["message"] and ": " in call["message"]
        if call["reason"] in BOUNDS and not clear:
            yield Violation("P16", f"refused with {call['reason']}, and does not say what to do: {call['message']}")
        if call["outcome"] == "refused" and call["code"] in _UNEXPLAINED:
            yield Violation("P16", f"refused with {call['code']}: {call['message']}")
    cancelled = _cancelled(evidence)
    for call in calls_of_tools(evidence).values():
        place = evidence.families.by_key.get(call.key)
        said = json_object(call.result)
        too_deep = place is not None and place.depth >= MOST_DEPTH and call.result
        if too_deep and call.key not in cancelled and said.get("error") != "DEPTH_EXCEEDED":
            yield Violation(
                "P16", f"{call.key} asks for a child at depth {MOST_DEPTH + 1}, and is told {str(said)[:200]}"
            )
        if said.get("error") in BOUNDS and (call.key[1] not in said["message"] or ": " not in said["message"]):
            yield Violation("P16", f"{call.key} is told {said}, which does not say what to do")


CHECKS = (
    p16_one_child,
    p16_no_orphan,
    p16_all_over,
    p16_nobody_waits,
    p16_told_once,
    p16_one_answer,
    p16_cancels,
    p16_budgets,
    p16_bounds,
)


def refusals(evidence: Evidence, reason: str) -> int:
    """How often a child was refused because of a bound, whoever asked and whoever refused."""
    direct = sum(call["reason"] == reason for call in _client_calls(evidence, "SpawnAgent", "SpawnGroup"))
    of_tools = sum(json_object(call.result).get("error") == reason for call in calls_of_tools(evidence).values())
    late = sum(wire.text(wire.inner(wire.fields(each.body), 15), 1) == reason for each in _spawns(evidence))
    return direct + of_tools + late


def told(evidence: Evidence) -> int:
    """How many parents were told of an end."""
    return sum(each.told == f.TOLD for each in (*_spawns(evidence), *_groups(evidence)))


def _cancelled(evidence: Evidence) -> set[Key]:
    """Runs that somebody cancelled."""
    return {(event.tenant, event.run_id) for event in evidence.tables.events if event.kind == rows.RUN_CANCEL_REQUESTED}


_STATES_OF_RUN = {
    f.COMPLETED: (rows.COMPLETED,),
    f.FAILED: (rows.FAILED,),
    f.CANCELLED: (rows.CANCELLED,),
    f.TIMED_OUT: (rows.CANCELLED,),
}


def _end_of(found: f.Spawn | f.Group, by_group: dict[Key, list[f.Spawn]], said: dict[str, object]) -> dict[str, object]:
    """What was said, with ids and states as they really are."""
    if isinstance(found, f.Spawn):
        return {**said, "spawn_id": found.spawn_id, "state": f.NAMES[found.state]}
    told = said.get("children")
    children = {each.spawn_id: each for each in by_group[found.key]}
    names = [each.get("spawn_id") for each in told if isinstance(each, dict)] if isinstance(told, list) else []
    if sorted(map(str, names)) != sorted(children):
        return {"children": sorted(children)}
    real = [{**each, "state": f.NAMES[children[each["spawn_id"]].state]} for each in told]
    return {**said, "group_id": found.group_id, "state": f.GROUP_NAMES[found.state], "children": real}


def _spawns(evidence: Evidence) -> tuple[f.Spawn, ...]:
    return evidence.families.spawns


def _groups(evidence: Evidence) -> tuple[f.Group, ...]:
    return evidence.families.groups


def _client_calls(evidence: Evidence, *methods: str) -> Iterator[Line]:
    return (line for line in evidence.clients if line["kind"] == "spawn_call" and line["method"] in methods)
