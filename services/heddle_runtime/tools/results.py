"""What of a tool's words goes on: bounded, because a model pays for each, and free of what no text column takes."""

import math
from dataclasses import replace
from itertools import islice

from heddle_core.json_text import problem_of
from heddle_core.texts import clipped, storable
from heddle_runtime.runs.content import AssetReference, InlineData, Json, Part, Text
from heddle_runtime.tools.port import ToolDeferral, ToolEnd, ToolProgress, ToolQuestion, ToolReply

MOST_TEXT = 256 << 10
"""Bytes of UTF-8 of all text and JSON of one result: about 65,000 tokens."""
MOST_INLINE = 1 << 20
"""Bytes of all inline data of one result (contract: limits)."""
MOST_PARTS = 256
MOST_UI_BLOCKS = 64
MOST_UI_BYTES = 256 << 10
MOST_NEXT_ACTIONS = 16
MOST_LINE = 1_024
"""Characters of a progress message, a deferral's message or a next action (contract: ToolProgress.message)."""
MOST_PROMPT = 8_192
"""Characters of a question."""


def bounded(end: ToolEnd, *, most_text: int = MOST_TEXT) -> ToolEnd:
    """`end` within all bounds; what was cut or left out is said in its place."""
    match end:
        case ToolReply():
            return ToolReply(
                ok=end.ok,
                content=tuple(_parts(end.content, most_text)),
                ui_blocks_json=tuple(_ui_blocks(end.ui_blocks_json)),
                # A negative cost would pay into a budget; the declared price is charged instead.
                cost=end.cost if end.cost is not None and end.cost >= 0 else None,
                next_actions=tuple(line(each) for each in end.next_actions[:MOST_NEXT_ACTIONS]),
            )
        case ToolDeferral():
            return replace(end, message=line(end.message))
        case ToolQuestion():
            return replace(end, prompt=storable(end.prompt)[:MOST_PROMPT])


def bounded_progress(progress: ToolProgress) -> ToolProgress:
    """`progress` with a fraction from 0 to 1 and a message of one bounded line."""
    fraction = 0.0 if math.isnan(progress.fraction) else min(max(progress.fraction, 0.0), 1.0)
    return ToolProgress(fraction, line(progress.message))


def line(text: str) -> str:
    """`text` on one line, cut to 1,024 characters."""
    short = " ".join(storable(text[: 4 * MOST_LINE]).split())
    return clipped(short, MOST_LINE)


def _first_bytes(text: str, most: int) -> tuple[str, int]:
    """The first `most` bytes of `text`, cut between characters, and how many bytes were left out."""
    encoded = text.encode()
    if len(encoded) <= most:
        return text, 0
    kept = encoded[:most].decode("utf-8", "ignore")
    return kept, len(encoded) - len(kept.encode())


def _parts(parts: tuple[Part, ...], most_text: int) -> "list[Part]":
    kept: list[Part] = []
    text_left, inline_left, text_lost = most_text, MOST_INLINE, 0
    for part in parts[:MOST_PARTS]:
        match part:
            case Text() | Json():
                whole = _clean_part(part)
                words, lost = _first_bytes(_words(whole), text_left)
                text_left = 0 if lost else text_left - len(words.encode())
                text_lost += lost
                if not lost:
                    kept.append(whole)
                elif words:
                    kept.append(Text(words))
            case InlineData() if len(part.data) > inline_left:
                kept.append(
                    Text(f"[left out: {line(part.media_type)} of {len(part.data)} bytes; give an asset instead]")
                )
            case InlineData():
                inline_left -= len(part.data)
                kept.append(InlineData(line(part.media_type), part.data, line(part.name)))
            case AssetReference():
                kept.append(AssetReference(line(part.asset_id), line(part.media_type), line(part.name)))
    if text_lost:
        kept.append(Text(f"[cut: {text_lost} bytes more of text; ask for less, or for a part of it]"))
    if len(parts) > MOST_PARTS:
        kept.append(Text(f"[left out: {len(parts) - MOST_PARTS} more parts]"))
    return kept


def _clean_part(part: Text | Json) -> Text | Json:
    """Cleaned; JSON that is none, or that no reader should take, goes on as text."""
    words = storable(_words(part))
    if isinstance(part, Json) and problem_of(words, limit=max(len(words) * 4, 1)) is None:
        return Json(words)
    return Text(words)


def _words(part: Text | Json) -> str:
    return part.text if isinstance(part, Text) else part.json


def _ui_blocks(blocks: tuple[str, ...]) -> "list[str]":
    """The blocks that are JSON objects, up to the bounds: a person sees fewer, never broken ones."""
    sound = (each for each in blocks if each.lstrip().startswith("{") and problem_of(each, limit=MOST_UI_BYTES) is None)
    kept: list[str] = []
    left = MOST_UI_BYTES
    for block in islice(sound, MOST_UI_BLOCKS):
        left -= len(block.encode())
        if left < 0:
            break
        kept.append(block)
    return kept
