"""What a whole tree has consumed. Pure."""

from collections.abc import Iterable

from heddle_client.values import RunView
from heddle_core.usage import Usage
from heddle_spawn.rules.spawns import Spawn


def usage_of_tree(root: RunView, spawns: Iterable[Spawn]) -> Usage:
    """The sum over a tree. A run's own figure holds its children's, once they have ended before it."""
    children = tuple(spawns)
    ends = {root.run_id: root.end_time, **{each.run_id: each.end_time for each in children if each.run_id}}
    total = root.usage
    for each in children:
        parent_end = ends.get(each.origin.parent_run_id, 0)
        counted_above = bool(each.end_time) and (not parent_end or each.end_time <= parent_end)
        if each.run_id != root.run_id and not counted_above:
            total = total + each.usage
    return total
