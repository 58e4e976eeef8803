"""Which tools a turn has, and by what names the model knows them. Pure: the same tools give the same names."""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import field
from difflib import get_close_matches

from heddle_core.ids import is_id
from heddle_core.values import value
from heddle_runtime.tools.port import ToolSpec

UNLESS_SAID = ("builtin/ask_user",)
"""What an agent has that names no tools (contract: Agent.tools)."""

LONGEST_NAME = 64
"""Characters that model providers accept in a function's name."""

_MOST_NEAREST = 5


@value
class Found:
    """The tool that a model meant."""

    spec: ToolSpec


@value
class Unknown:
    """A name that none of the selected tools has."""

    name: str
    nearest: tuple[str, ...]
    """Names that the model may have meant, the likeliest first; some of all if none is near."""

    @property
    def message(self) -> str:
        """What to tell the model."""
        if not self.nearest:
            return f"There is no tool {self.name!r}, and none at all in this turn: answer without tools."
        return f"There is no tool {self.name!r}. Nearest names: {', '.join(self.nearest)}. Call one of these."


@value
class Selection:
    """The tools of a turn by the names that the model sees, in order of these names."""

    by_name: Mapping[str, ToolSpec]
    unmatched: tuple[str, ...] = ()
    """Patterns that matched nothing: misspelt, or of a provider that is down."""
    digest: str = field(init=False)
    """SHA-256 in hex of names and declarations; RunStarted records it."""

    def __post_init__(self) -> None:
        digest = hashlib.sha256()
        for name, spec in self.by_name.items():
            digest.update(f"{name} {spec.provider_id} {spec.schema_digest}\n".encode())
        object.__setattr__(self, "digest", digest.hexdigest())

    def at(self, path: str) -> ToolSpec | None:
        """The tool at `provider/name`, whatever the model calls it; None: it is not among them."""
        return next((spec for spec in self.by_name.values() if spec.path == path), None)

    def find(self, name: str) -> Found | Unknown:
        """The tool that a model calls `name`, which may be anything."""
        spec = self.by_name.get(name)
        if spec is not None:
            return Found(spec)
        shown = name[:LONGEST_NAME]
        lowered = {each.lower(): each for each in self.by_name}
        near = get_close_matches(shown.lower(), lowered, n=_MOST_NEAREST, cutoff=0.5)
        chosen = [lowered[each] for each in near] or list(self.by_name)[:_MOST_NEAREST]
        return Unknown(shown, tuple(chosen))


@value
class Wishes:
    """Who wants and grants what. Patterns are `provider/name` or `provider/*`."""

    agent: Sequence[str] = ()
    """What the agent asks for; empty: `UNLESS_SAID`."""
    allow: Sequence[str] = ()
    """What the tenant grants; empty: everything."""
    deny: Sequence[str] = ()
    """What is refused in any case; wins over all else."""
    turn: Sequence[str] = ()
    """What the turn narrows the agent's tools to, as patterns or plain names; empty: no further."""
    taken: Collection[str] = ()
    """Names that the turn's client tools have already."""


def select(specs: Iterable[ToolSpec], wishes: Wishes) -> Selection:
    """The tools among `specs` that `wishes` name, allow and do not deny."""
    known = tuple(specs)
    wanted = tuple(wishes.agent) or UNLESS_SAID
    chosen = [
        spec
        for spec in known
        if _matches(spec, wanted)
        and (not wishes.allow or _matches(spec, wishes.allow))
        and not _matches(spec, wishes.deny)
        and (not wishes.turn or spec.name in wishes.turn or _matches(spec, wishes.turn))
    ]
    unmatched = tuple(pattern for pattern in wanted if not any(_matches(spec, (pattern,)) for spec in known))
    return Selection(_named(chosen, wishes.taken), unmatched)


def problem_of_pattern(pattern: str) -> str | None:
    """Why `pattern` names no tools; None if it may."""
    provider_id, separator, name = pattern.partition("/")
    if separator and is_id(provider_id) and (name == "*" or is_id(name)):
        return None
    return f"write {pattern[:80]!r} as `provider/name` or `provider/*`"


def _matches(spec: ToolSpec, patterns: Sequence[str]) -> bool:
    return spec.path in patterns or f"{spec.provider_id}/*" in patterns


def _named(specs: Sequence[ToolSpec], taken: Collection[str]) -> dict[str, ToolSpec]:
    """The plain name where nobody else has it, else `provider__name`, else that with a piece of a digest."""
    plain = Counter([spec.name for spec in specs] + list(taken))
    first = {spec.path: spec.name if plain[spec.name] == 1 else _qualified(spec) for spec in specs}
    used = Counter([*first.values(), *taken])
    names: dict[str, ToolSpec] = {}
    for spec in specs:
        name = first[spec.path]
        fits = len(name) <= LONGEST_NAME and used[name] == 1
        names[name if fits else _unmistakable(spec)] = spec
    return dict(sorted(names.items()))


def _qualified(spec: ToolSpec) -> str:
    return f"{spec.provider_id}__{spec.name}"


def _unmistakable(spec: ToolSpec) -> str:
    """For names too long, and for `a` serving `b__c` beside `a__b` serving `c`."""
    return f"{_qualified(spec)[: LONGEST_NAME - 11]}__{hashlib.sha256(spec.path.encode()).hexdigest()[:9]}"
