"""What stays of a record whose thread was deleted: ids, states and figures; none of the words (SEMANTICS 35). Pure."""

from dataclasses import replace

from heddle_spawn.rules.spawns import GroupSpec, Spawn, SpawnFailure, SpawnSpec


def erased(spawn: Spawn) -> Spawn:
    """A child without its words. Its key stays taken."""
    failure = SpawnFailure(spawn.failure.reason, "Its thread was deleted.") if spawn.failure else None
    return replace(spawn, spec=_wordless(spawn.spec), turn=b"", progress="", result=None, failure=failure)


def erased_group(spec: GroupSpec) -> GroupSpec:
    """A group's spec without the words of its children."""
    return replace(spec, stages=tuple(tuple(_wordless(child) for child in stage) for stage in spec.stages))


def _wordless(spec: SpawnSpec) -> SpawnSpec:
    return replace(spec, task=(), context=(), labels={}, result_schema_json="")
