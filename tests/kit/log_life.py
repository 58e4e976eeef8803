"""What tests say of a log whose events go: conversations, trims, redactions, and what is left."""

from typing import Any

from heddle_core.ids import MessageId, RequestId, ThreadId
from heddle_runtime.facade.commands import RedactMessage, RequestKey
from heddle_runtime.facade.page_commands import Page
from heddle_runtime.facade.retention import RetentionPolicy
from heddle_runtime.facade.thread_commands import ListMessages
from heddle_runtime.runs.content import Text
from heddle_runtime.store.retention import LogRetention
from heddle_runtime.store.thread_store import ThreadStore
from tests.kit.stores import ACME, ADA, Shop

T1 = ThreadId("t1")
KEEP_TEN = RetentionPolicy(keep_events=10, least=1)


async def talk(shop: Shop, turns: int, thread_id: str = "t1") -> None:
    """Finished runs of six events each."""
    for number in range(turns):
        owner = await shop.owner(thread_id, text=f"question {number}")
        await owner.say(f"answer {number}")
        await owner.complete(f"answer {number}")


async def trim(shop: Shop, policy: RetentionPolicy = KEEP_TEN, thread_id: ThreadId = T1) -> int:
    return await LogRetention(shop.store).trim(policy, ACME, thread_id)


async def bounds(shop: Shop) -> tuple[int, int]:
    """The first sequence that is kept, and the last."""
    last, first = await shop.store.log_bounds(ACME, T1)
    return first, last


async def redact(shop: Shop, message_id: str, thread_id: ThreadId = T1) -> None:
    key = RequestKey("RedactMessage", RequestId(shop.new("redact")), message_id.encode())
    await ThreadStore(shop.store).redact_message(RedactMessage(ADA, key, thread_id, MessageId(message_id), ""))


async def everything(shop: Shop) -> str:
    def read(tx: Any) -> str:
        tables = ("events", "runs", "snapshots", "threads", "requests", "inputs")
        rows = [row for table in tables for row in tx.rows(f"SELECT * FROM {table}")]
        values = [value for row in rows for value in row]
        return "\n".join(
            str(bytes(each), "utf-8", "replace") if isinstance(each, bytes) else str(each) for each in values
        )

    return await shop.store.read(read)


async def words(shop: Shop, thread_id: ThreadId = T1, **fields: Any) -> list[str]:
    """Messages as they are listed, the oldest first, in pages of three."""
    found: list[str] = []
    page = Page(3)
    while True:
        listing = await ThreadStore(shop.store).list_messages(ListMessages(ACME, thread_id, page, **fields))
        found += ["".join(part.text for part in each.content if isinstance(part, Text)) for each in listing.items]
        if not listing.more:
            return found[::-1]
        page = Page(3, listing.more)
