"""How a thread's UI blocks change. Pure."""

import json
from collections.abc import Mapping
from typing import Any

from heddle_runtime.threads.events import UiBlocksOperation, UiBlocksUpdated


def block_id(block_json: str) -> str:
    """The `id` of a block; a block without one is its own id, so that it shows once."""
    try:
        block: Any = json.loads(block_json)
        return str(block["id"])
    except (ValueError, LookupError, TypeError):
        return block_json


def updated_blocks(blocks: Mapping[str, str], update: UiBlocksUpdated) -> dict[str, str]:
    """The blocks by id after `update`, in the order that they are shown."""
    named = {block_id(each): each for each in update.blocks_json}
    match update.operation:
        case UiBlocksOperation.CLEAR:
            return {}
        case UiBlocksOperation.REMOVE:
            return {key: block for key, block in blocks.items() if key not in named}
        case UiBlocksOperation.UPDATE:
            return {key: named.get(key, block) for key, block in blocks.items()}
        case UiBlocksOperation.ADD:
            return {**blocks, **named}
        case UiBlocksOperation.REPLACE | UiBlocksOperation.UNSPECIFIED:
            return named
