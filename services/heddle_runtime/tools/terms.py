"""What the intent of a call keeps of its tool, and the tool again from that.

Whoever takes a run over may not reach the provider at that moment. What the tool promised when the call was sent is on
record beside the call, and decides whether it may be sent again (promise P8).
"""

from dataclasses import replace

from heddle_runtime.threads.events import ToolTerms
from heddle_runtime.tools.port import RiskClass, ToolSpec


def terms_of(spec: ToolSpec) -> ToolTerms:
    """What to keep of a tool."""
    return ToolTerms(
        risk=spec.risk.value,
        read_only=spec.read_only,
        idempotent=spec.idempotent,
        deadline=spec.deadline,
        price=spec.price,
    )


def sent_tool(path: str, terms: ToolTerms, now: ToolSpec | None) -> ToolSpec:
    """The tool at `path` as it stands for a call that was sent under `terms`.

    Args:
        path: `provider/name`.
        terms: what it promised when the call was sent.
        now: what it says of itself now; None where its provider is not there to be asked.

    Of its promises those count that it gave when the call was sent, and still gives: a tool that promised nothing then
    has not kept the key, and one that promises nothing now does not look at it. The one promise does not stand for the
    other: what is only read may be asked again, but what was sent under a key is in doubt until that key is answered.
    """
    kept = _kept(path, terms)
    if now is None:
        return kept
    read_only, idempotent = kept.read_only and now.read_only, kept.idempotent and now.idempotent
    return replace(now if read_only or idempotent else kept, read_only=read_only, idempotent=idempotent)


def _kept(path: str, terms: ToolTerms) -> ToolSpec:
    provider_id, _, name = path.partition("/")
    return ToolSpec(
        provider_id=provider_id,
        name=name,
        description="",
        risk=_risk(terms.risk),
        read_only=terms.read_only,
        idempotent=terms.idempotent,
        deadline=terms.deadline,
        price=terms.price,
    )


def _risk(number: int) -> RiskClass:
    """A class that a later version has written, and this one does not know, counts as the worst."""
    return RiskClass(number) if number in [each.value for each in RiskClass] else max(RiskClass)
