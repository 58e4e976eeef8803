"""What a campaign learns from a run that has ended, and what its agents note, out of plain values.

Every memory's id is made of the run and of the memory's place in it, so that whoever looks at a run again learns
nothing twice. A memory says what was written, in its own words; nothing is summed up by a model.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID, uuid5

from heddle_campaign.rules.cycles import Cycle, CycleTurn
from heddle_campaign.rules.learned import Citation, Learned
from heddle_campaign.rules.memories import Memory, MemoryKind
from heddle_campaign.rules.produced import made_by
from heddle_campaign.rules.words import content_type
from heddle_client.values import AssetReference, Json, RunState, RunView, Text
from heddle_core.clock import Micros
from heddle_core.ids import TenantId
from heddle_core.texts import clipped, storable

MOST_TEXT = 2_000
"""Characters of a memory (contract: Memory.text); longer ones are cut."""
MOST_DECISIONS = 8
"""Decisions that are learned of one run: the first ones."""
MOST_TAGS = 8
MOST_TAG = 64

_SPACE = UUID("2d5b2f0e-7c64-5a8e-8f0b-0c1f7d6a9e42")
"""Fixed for ever: another one would learn every run anew."""

_IMPORTANCE = {RunState.COMPLETED: 0.4, RunState.FAILED: 0.6, RunState.CANCELLED: 0.2}
"""Of outcomes: what failed is worth more to know than what went well, and a cancelled run says the least."""
_OUTCOME_CONFIDENCE = 0.9
"""The log says so; only what came of it is in the agent's words."""
_DECISION_IMPORTANCE = 0.6
_STATED = 0.9
"""How sure a decision is that stands in a list of its own in the result."""
_MARKED = 0.7
"""Likewise of one that was read out of prose, where the mark may have meant something else."""
_NOTED = 0.8
"""Likewise of what an agent chose to note while it worked."""
_NOTE_IMPORTANCE = 0.5

_ENDED = {RunState.COMPLETED: "completed its turn", RunState.FAILED: "failed", RunState.CANCELLED: "was cancelled"}
_LINE = re.compile(
    r"\s*(?:[-*+•]|\d{1,3}[.)])?\s*[*_]{0,2}(?:decision(?:\s+\d{1,3})?|decided)[*_]{0,2}\s*:[*_]{0,2}\s*(\S.*)",
    re.IGNORECASE,
)
"""`Decision: ...`, also as a list item, in bold, or numbered."""
_HEADING = re.compile(r"\s*#{0,6}\s*[*_]{0,2}decisions[*_]{0,2}\s*:?[*_]{0,2}\s*", re.IGNORECASE)
"""A line of its own; the list items below it are decisions."""
_ITEM = re.compile(r"\s*(?:[-*+•]|\d{1,3}[.)])\s+(\S.*)")


@dataclass(frozen=True, slots=True)
class Decided:
    """Something that was decided, as it was said."""

    text: str
    platform: str = ""
    tags: tuple[str, ...] = ()
    confidence: float = _MARKED


def memories_of(
    tenant: TenantId, cycle: Cycle, turn: CycleTurn, run: RunView, citation: Citation
) -> tuple[Learned, ...]:
    """What an ended run teaches: how it came out, and up to `MOST_DECISIONS` decisions, each with where it stands."""
    campaign_id = cycle.key.campaign_id
    outcome = Memory(
        memory_id(run.run_id, "outcome"),
        MemoryKind.OUTCOME,
        kept_text(_outcome(cycle, turn, run)),
        run.end_time,
        platform=cycle.platform,
        content_type=_type_made(run) or turn_type(cycle, turn),
        tags=_tags((turn.role, cycle.topic, run.state.name.lower())),
        importance=_IMPORTANCE[run.state],
        confidence=_OUTCOME_CONFIDENCE,
    )
    made = [outcome]
    for place, decided in enumerate(decisions_of(run), start=1):
        made.append(
            Memory(
                memory_id(run.run_id, f"decision:{place}"),
                MemoryKind.DECISION,
                kept_text(decided.text),
                run.end_time,
                platform=decided.platform or cycle.platform,
                content_type=turn_type(cycle, turn),
                tags=_tags((turn.role, *decided.tags)),
                importance=_DECISION_IMPORTANCE,
                confidence=decided.confidence,
            )
        )
    return tuple(Learned(tenant, campaign_id, each, citation) for each in made)


def turn_type(cycle: Cycle, turn: CycleTurn) -> str:
    """The kind of content that a turn is to make, by its role, its objective or its topic. Empty: it is not known."""
    return content_type(turn.role.replace("_", " "), turn.objective, cycle.topic)


def noted(
    kind: MemoryKind,
    text: str,
    *,
    key: str,
    role: str,
    platform: str,
    tags: Iterable[str],
    now: Micros,
    run_id: str,
    about: str = "",
) -> Memory:
    """What an agent notes with a tool while it works; `key` is that of the call, `about` the turn's content type."""
    important = _DECISION_IMPORTANCE if kind is MemoryKind.DECISION else _NOTE_IMPORTANCE
    return Memory(
        memory_id(run_id, f"call:{key}"),
        kind,
        kept_text(text),
        now,
        platform=platform,
        content_type=about,
        tags=_tags((role, *tags)),
        importance=important,
        confidence=_NOTED,
    )


def decisions_of(run: RunView) -> tuple[Decided, ...]:
    """What the agent says in its result that it decided: a list `decisions` of a JSON result, else marked lines."""
    stated = [each for document in _documents(run) for each in _stated(document)]
    found = stated or [each for part in run.parts if isinstance(part, Text) for each in _marked(part.text)]
    first: dict[str, Decided] = {}
    for each in found:
        first.setdefault(each.text, each)
    return tuple(first.values())[:MOST_DECISIONS]


def memory_id(*parts: str) -> str:
    """The same id for the same place, wherever and however often it is made."""
    return f"mem_{uuid5(_SPACE, _joined(parts)).hex}"


def message_id(*parts: str) -> str:
    """Likewise for a message between agents."""
    return f"pm_{uuid5(_SPACE, _joined(('message', *parts))).hex}"


def kept_text(text: str) -> str:
    """The text as a memory keeps it: storable, without blank ends, and no longer than one may be."""
    return clipped(storable(text).strip(), MOST_TEXT)


# --- the outcome -----------------------------------------------------------------------------------------


def _type_made(run: RunView) -> str:
    """The one kind of asset that came of a run. Empty: none, or several."""
    made = made_by(run.parts)
    kinds = [kind for kind, count in (("image", made.images), ("video", made.videos)) if count]
    return kinds[0] if len(kinds) == 1 else ""


def _outcome(cycle: Cycle, turn: CycleTurn, run: RunView) -> str:
    about = [f"{name}: {said}" for name, said in (("topic", cycle.topic), ("platform", cycle.platform)) if said]
    head = f"{turn.role} {_ENDED[run.state]}" + (f" ({'; '.join(about)})" if about else "")
    match run.state:
        case RunState.FAILED:
            return f"{head}: {run.failure_reason}: {run.failure_message}"
        case RunState.CANCELLED:
            return f"{head}: {run.cancel_cause.name.lower()}"
        case _:
            came = _result(run)
            return f"{head}. Result: {came}" if came else head


def _result(run: RunView) -> str:
    """What came of a run in few words: the summary of a JSON result where it has one, else what was written."""
    for document in _documents(run):
        summary = document.get("summary")
        if isinstance(summary, str) and summary.strip():
            return summary.strip()
    said: list[str] = []
    for part in run.parts:
        match part:
            case Text():
                said.append(part.text.strip())
            case Json():
                said.append(part.json)
            case AssetReference():
                said.append(f"[asset {part.asset_id}]")
            case _:
                said.append(f"[{part.media_type}]")
    return "\n".join(each for each in said if each) or run.structured_json


# --- decisions -------------------------------------------------------------------------------------------


def _documents(run: RunView) -> Iterator[Mapping[str, Any]]:
    """The JSON objects that a result is made of; the structured one alone, if there is one."""
    texts = [run.structured_json] if run.structured_json else []
    for part in () if texts else run.parts:
        if isinstance(part, Json):
            texts.append(part.json)
        elif isinstance(part, Text) and part.text.lstrip().startswith("{"):
            texts.append(part.text)
    for text in texts:
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(document, dict):
            yield cast(dict[str, Any], document)


def _stated(document: Mapping[str, Any]) -> Iterator[Decided]:
    """Of `decisions: ["...", {decision, reason, platform, tags}]`; what has another shape is left out."""
    listed = document.get("decisions")
    for each in cast(list[Any], listed) if isinstance(listed, list) else ():
        if isinstance(each, str):
            if each.strip():
                yield Decided(each.strip(), confidence=_STATED)
        elif isinstance(each, dict):
            fields = cast(dict[str, Any], each)
            said, reason = _text(fields, "decision", "text"), _text(fields, "reason", "why")
            tags = fields.get("tags")
            named = cast(list[Any], tags) if isinstance(tags, list) else []
            if said:
                yield Decided(
                    f"{said} (because {reason})" if reason else said,
                    platform=storable(_text(fields, "platform"))[:MOST_TAG],
                    tags=tuple(tag for tag in named if isinstance(tag, str)),
                    confidence=_STATED,
                )


def _marked(text: str) -> Iterator[Decided]:
    below = False
    for line in text.splitlines():
        marked = _LINE.fullmatch(line)
        item = _ITEM.fullmatch(line) if below else None
        if marked is not None:
            yield Decided(_unmarked(marked[1]))
        elif item is not None:
            yield Decided(_unmarked(item[1]))
        elif line.strip() or not below:
            below = _HEADING.fullmatch(line) is not None


def _unmarked(said: str) -> str:
    """Without the end of a bold line."""
    return said.rstrip().removesuffix("**").removesuffix("__").rstrip()


def _text(fields: Mapping[str, Any], *names: str) -> str:
    """The first of these fields that is a text and says something."""
    texts = (fields.get(name) for name in names)
    return next((each.strip() for each in texts if isinstance(each, str) and each.strip()), "")


def _tags(given: Iterable[str]) -> tuple[str, ...]:
    said = (storable(each).strip()[:MOST_TAG] for each in given)
    return tuple(dict.fromkeys(each for each in said if each))[:MOST_TAGS]


def _joined(parts: Iterable[str]) -> str:
    # With their lengths, so that no two lists of parts read the same.
    return "".join(f"{len(part)}:{part}" for part in parts)
