"""Memories as rows, and what is left of those that were forgotten: their ids, so that none is learned again."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from heddle_campaign.facade.ports.listing import ListMemories
from heddle_campaign.rules.learned import Learned
from heddle_campaign.store.bodies import learned_body, learned_of
from heddle_campaign.store.pages import Conditions
from heddle_core.clock import Micros
from heddle_database.port import Row, Transaction

COLUMNS = "tenant, memory_id, body, pinned, last_use_time"

_ORDERS = {"create_time": "create_time", "importance": "importance", "last_use_time": "last_use_time"}


def learned_value(row: Row) -> Learned:
    """A memory from its row, with the columns of `COLUMNS`."""
    learned = learned_of(row[2])
    last_used = Micros(row[4]) if row[4] else None
    return replace(learned, memory=replace(learned.memory, pinned=bool(row[3]), last_used=last_used))


def find_memory(tx: Transaction, tenant: str, memory_id: str) -> Learned | None:
    """A memory by its id."""
    row = tx.row(
        f"SELECT {COLUMNS} FROM memories WHERE tenant = :tenant AND memory_id = :memory",
        tenant=tenant,
        memory=memory_id,
    )
    return learned_value(row) if row else None


def insert_memories(tx: Transaction, memories: Iterable[Learned]) -> None:
    """Write new memories; one whose id is taken, or was, is left as it stands."""
    tx.many(
        "INSERT INTO memories (tenant, memory_id, campaign_id, platform, thread_id, words, kind, pinned, importance,"
        " create_time, last_use_time, body) SELECT :tenant, :memory, :campaign, :platform, :thread, :words, :kind,"
        " :pinned, :importance, :create_time, :last_use_time, :body WHERE NOT EXISTS (SELECT 1 FROM"
        " forgotten_memories f WHERE f.tenant = :tenant AND f.memory_id = :memory) ON CONFLICT DO NOTHING",
        [
            {
                "tenant": each.tenant,
                "memory": each.memory.memory_id,
                "campaign": each.campaign_id,
                "platform": each.memory.platform,
                "thread": each.citation.thread_id if each.citation else "",
                "words": _words(each.memory.text),
                "kind": int(each.memory.kind),
                "pinned": int(each.memory.pinned),
                "importance": _millionths(each.memory.importance),
                "create_time": each.memory.learned,
                "last_use_time": each.memory.last_used or 0,
                "body": learned_body(each),
            }
            for each in memories
        ],
    )


def forget(tx: Transaction, tenant: str, memory_ids: Sequence[str]) -> int:
    """Erase memories and keep their ids; how many there were."""
    tx.many(
        "INSERT INTO forgotten_memories (tenant, memory_id, campaign_id, forget_time)"
        " SELECT tenant, memory_id, campaign_id, CAST(:now AS BIGINT) FROM memories"
        " WHERE tenant = :tenant AND memory_id = :memory ON CONFLICT DO NOTHING",
        [{"now": tx.now, "tenant": tenant, "memory": each} for each in memory_ids],
    )
    return sum(
        tx.run("DELETE FROM memories WHERE tenant = :tenant AND memory_id = :memory", tenant=tenant, memory=each)
        for each in memory_ids
    )


def fade(tx: Transaction, learned: Learned) -> bool:
    """Erase a memory that nobody has pinned or used since it was read, and keep its id; whether it went."""
    own: dict[str, object] = {"tenant": learned.tenant, "memory": learned.memory.memory_id}
    still_so = tx.row(
        "SELECT 1 FROM memories WHERE tenant = :tenant AND memory_id = :memory AND pinned = 0"
        f" AND last_use_time = :last_used{tx.row_lock}",
        **own,
        last_used=learned.memory.last_used or 0,
    )
    return still_so is not None and forget(tx, learned.tenant, [learned.memory.memory_id]) > 0


def set_pinned(tx: Transaction, tenant: str, memory_id: str, *, pinned: bool) -> None:
    """Pin a memory, or no longer."""
    tx.run(
        "UPDATE memories SET pinned = :pinned WHERE tenant = :tenant AND memory_id = :memory",
        pinned=int(pinned),
        tenant=tenant,
        memory=memory_id,
    )


def note_use(tx: Transaction, tenant: str, memory_ids: Sequence[str]) -> None:
    """Write down that memories were used now."""
    tx.many(
        "UPDATE memories SET last_use_time = :now WHERE tenant = :tenant AND memory_id = :memory",
        [{"now": tx.now, "tenant": tenant, "memory": each} for each in sorted(set(memory_ids))],
    )


def ids_of_thread(tx: Transaction, tenant: str, thread_id: str) -> list[str]:
    """Ids of what was learned from a thread."""
    rows = tx.rows(
        "SELECT memory_id FROM memories WHERE tenant = :tenant AND thread_id = :thread AND thread_id <> ''"
        " ORDER BY memory_id",
        tenant=tenant,
        thread=thread_id,
    )
    return [row[0] for row in rows]


def known(tx: Transaction, tenant: str, campaign_id: str, most: int) -> tuple[Learned, ...]:
    """What a campaign knows: pinned ones first, then the newest."""
    rows = tx.rows(
        f"SELECT {COLUMNS} FROM memories WHERE tenant = :tenant AND campaign_id = :campaign"
        " ORDER BY pinned DESC, create_time DESC, memory_id DESC LIMIT :most",
        tenant=tenant,
        campaign=campaign_id,
        most=most,
    )
    return tuple(learned_value(row) for row in rows)


def every(tx: Transaction, after: tuple[str, str], most: int) -> tuple[Learned, ...]:
    """Memories of all tenants behind a place."""
    rows = tx.rows(
        f"SELECT {COLUMNS} FROM memories WHERE (tenant, memory_id) > (:tenant, :memory)"
        " ORDER BY tenant, memory_id LIMIT :most",
        tenant=after[0],
        memory=after[1],
        most=most,
    )
    return tuple(learned_value(row) for row in rows)


def memory_page(tx: Transaction, command: ListMemories) -> tuple[Learned, ...]:
    """See `MemoryStore.memories`. One that was never used counts as used at zero."""
    column = _ORDERS[command.order_by]
    where = Conditions(
        ["tenant = :tenant", "campaign_id = :campaign"],
        {"tenant": command.tenant, "campaign": command.campaign_id, "most": command.size + 1},
    )
    if command.kinds:
        where.add(f"kind IN ({', '.join(str(int(kind)) for kind in command.kinds)})")
    if command.pinned is not None:
        where.add("pinned = :pinned", pinned=int(command.pinned))
    if command.platform:
        where.add("platform = :platform", platform=command.platform)
    for place, word in enumerate(command.words):
        where.add(f"words LIKE :word{place} ESCAPE '!'", **{f"word{place}": f"%{_escaped(_words(word))}%"})
    if command.after is not None:
        text, last = command.after
        at = _millionths(float(text)) if column == "importance" else int(text or 0)
        where.add(f"({column}, memory_id) {'<' if command.descending else '>'} (:at, :last)", at=at, last=last)
    order = " DESC" if command.descending else ""
    rows = tx.rows(
        f"SELECT {COLUMNS} FROM memories WHERE {where.sql} ORDER BY {column}{order}, memory_id{order} LIMIT :most",
        **where.parameters,
    )
    return tuple(learned_value(row) for row in rows)


def _words(text: str) -> str:
    """A text as it is searched: no text of PostgreSQL may hold NUL, which models may write."""
    return text.casefold().replace("\0", " ")


def _escaped(word: str) -> str:
    return word.replace("!", "!!").replace("%", "!%").replace("_", "!_")


def _millionths(share: float) -> int:
    """A share of one as a whole number, in the same order: columns hold no floats."""
    return round(share * 1_000_000)
