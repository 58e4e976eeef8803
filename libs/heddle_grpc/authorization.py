"""Which scope a method asks for. Deny by default: a method without a rule stops the server from starting."""

from collections.abc import Iterable, Mapping
from enum import Enum

from heddle_core.errors import CannotServe, ScopeMissing
from heddle_grpc.identity import Identity


class Access(Enum):
    """The rules that name no scope."""

    PUBLIC = "public"
    """Anybody, without a credential: health and reflection."""
    ANYBODY_KNOWN = "anybody known"
    """Any verified caller; the method itself looks closer."""


Rule = str | Access
"""A scope, or one of Access."""

Rules = Mapping[str, Rule]
"""By full method path, as `/heddle.runtime.v1.AgentRuntime/StartTurn`."""


def require_rules(paths: Iterable[str], rules: Rules) -> None:
    """Raises CannotServe when a method of `paths` has no rule."""
    missing = sorted(path for path in paths if path not in rules)
    if missing:
        problem = "no authorization rule says who may call it"
        raise CannotServe(", ".join(missing), problem, "add a rule to the service's table of scopes")


def authorize(identity: Identity, rule: Rule, *, method: str) -> None:
    """Raises ScopeMissing unless `identity` may call a method with `rule`."""
    if isinstance(rule, str) and rule not in identity.scopes:
        raise ScopeMissing(method, rule)


def scopes_in(rules: Rules) -> frozenset[str]:
    """Every scope that some rule asks for: what a development identity is given."""
    return frozenset(rule for rule in rules.values() if isinstance(rule, str))
