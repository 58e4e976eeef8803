"""What campaigns have learned, and what their agents told each other, on stable storage."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby

from heddle_campaign.facade.ports.listing import ListMemories
from heddle_campaign.rules.learned import Learned, PeerMessage, Speaker
from heddle_campaign.store import memory_rows
from heddle_campaign.store.bodies import message_body, message_of
from heddle_campaign.store.campaign_rows import lock_campaign
from heddle_campaign.store.store import REQUESTS
from heddle_core.changes import Changes
from heddle_core.clock import Micros, micros
from heddle_core.companion_errors import MemoryNotFound
from heddle_core.ids import TenantId
from heddle_core.requests import RequestKey
from heddle_database.port import Database, Transaction

MESSAGES_FOR = timedelta(days=30)
"""How long messages between agents are kept."""


@dataclass(frozen=True, slots=True)
class Memories:
    """Fulfils `heddle_campaign.facade.ports.memories.MemoryStore`."""

    database: Database
    changes: Changes
    """Told of every campaign whose agents sent a message, by its id."""

    async def learn(self, memories: Sequence[Learned]) -> None:
        """See the port. What a campaign that was deleted would learn is left out."""
        ordered = sorted(memories, key=_owner)
        for (tenant, campaign_id), group in groupby(ordered, key=_owner):
            await self.database.write(_learning(tenant, campaign_id, tuple(group)), affinity=campaign_id)

    async def known(self, tenant: str, campaign_id: str, most: int = 1_000) -> tuple[Learned, ...]:
        """See the port."""
        return await self.database.read(lambda tx: memory_rows.known(tx, tenant, campaign_id, most))

    async def every(self, after: tuple[str, str], most: int) -> tuple[Learned, ...]:
        """See the port."""
        return await self.database.read(lambda tx: memory_rows.every(tx, after, most))

    async def memory(self, tenant: str, memory_id: str) -> Learned | None:
        """See the port."""
        return await self.database.read(lambda tx: memory_rows.find_memory(tx, tenant, memory_id))

    async def memories(self, command: ListMemories) -> tuple[Learned, ...]:
        """See the port."""
        return await self.database.read(lambda tx: memory_rows.memory_page(tx, command))

    async def pin(self, key: RequestKey, memory_id: str, pinned: bool) -> Learned:
        """See the port."""

        def pin(tx: Transaction) -> Learned:
            if REQUESTS.find_target(tx, key) is None:
                memory_rows.set_pinned(tx, key.tenant, memory_id, pinned=pinned)
            found = memory_rows.find_memory(tx, key.tenant, memory_id)
            if found is None:
                raise MemoryNotFound(memory_id)
            REQUESTS.remember(tx, key, memory_id)
            return found

        return await self.database.write(pin)

    async def forget(self, key: RequestKey, memory_id: str) -> None:
        """See the port."""

        def forget(tx: Transaction) -> None:
            if REQUESTS.find_target(tx, key) is not None:
                return
            # Asked again behind the row's lock: the same request may have erased it at the same moment.
            if memory_rows.forget(tx, key.tenant, [memory_id]) == 0 and REQUESTS.find_target(tx, key) is None:
                raise MemoryNotFound(memory_id)
            REQUESTS.remember(tx, key, memory_id)

        await self.database.write(forget)

    async def forget_thread(self, tenant: str, thread_id: str) -> int:
        """See the port. The ids of memories stay taken."""

        def told(done: tuple[int, frozenset[str]]) -> None:
            self.changes.tell(tenant, *sorted(done[1]))

        return (await self.database.write(lambda tx: _forget_thread(tx, tenant, thread_id), told))[0]

    async def fade(self, memories: Sequence[Learned]) -> tuple[Learned, ...]:
        """See the port. Their ids stay taken."""
        ordered = sorted(memories, key=lambda each: (each.tenant, each.memory.memory_id))
        return await self.database.write(
            lambda tx: tuple(each for each in ordered if memory_rows.fade(tx, each)), bulk=True
        )

    async def note_use(self, tenant: str, memory_ids: Sequence[str]) -> None:
        """See the port."""
        await self.database.write(lambda tx: memory_rows.note_use(tx, tenant, memory_ids))

    async def tell(self, message: PeerMessage) -> None:
        """See the port. A message of a campaign that was deleted is left out."""
        await self.database.write(
            lambda tx: _tell(tx, message),
            lambda _: self.changes.tell(message.tenant, message.campaign_id),
            affinity=message.campaign_id,
        )

    async def speakers(self, after: tuple[str, str], most: int) -> tuple[Speaker, ...]:
        """See the port."""
        rows = await self.database.read(
            lambda tx: tx.rows(
                "SELECT tenant, thread_id, MIN(campaign_id) FROM peer_messages WHERE thread_id <> ''"
                " AND (tenant, thread_id) > (:tenant, :thread) GROUP BY tenant, thread_id"
                " ORDER BY tenant, thread_id LIMIT :most",
                tenant=after[0],
                thread=after[1],
                most=most,
            )
        )
        return tuple(Speaker(TenantId(row[0]), row[1], row[2]) for row in rows)

    async def messages(self, tenant: str, campaign_id: str, *, since: Micros, most: int) -> tuple[PeerMessage, ...]:
        """See the port."""
        rows = await self.database.read(
            lambda tx: tx.rows(
                "SELECT body FROM peer_messages WHERE tenant = :tenant AND campaign_id = :campaign"
                " AND send_time >= :since ORDER BY send_time DESC, message_id DESC LIMIT :most",
                tenant=tenant,
                campaign=campaign_id,
                since=since,
                most=most,
            )
        )
        return tuple(message_of(row[0]) for row in rows)


def _owner(learned: Learned) -> tuple[str, str]:
    return learned.tenant, learned.campaign_id


def _learning(tenant: str, campaign_id: str, memories: tuple[Learned, ...]) -> Callable[[Transaction], None]:
    def learn(tx: Transaction) -> None:
        if lock_campaign(tx, tenant, campaign_id):
            memory_rows.insert_memories(tx, memories)

    return learn


def _forget_thread(tx: Transaction, tenant: str, thread_id: str) -> tuple[int, frozenset[str]]:
    """How much was erased, and whose messages were among it."""
    memories = memory_rows.forget(tx, tenant, memory_rows.ids_of_thread(tx, tenant, thread_id))
    messages = tx.rows(
        "DELETE FROM peer_messages WHERE tenant = :tenant AND thread_id = :thread AND thread_id <> ''"
        " RETURNING campaign_id",
        tenant=tenant,
        thread=thread_id,
    )
    return memories + len(messages), frozenset(row[0] for row in messages)


def _tell(tx: Transaction, message: PeerMessage) -> None:
    own: dict[str, object] = {"tenant": message.tenant, "campaign": message.campaign_id}
    if not lock_campaign(tx, message.tenant, message.campaign_id):
        return
    tx.run(
        "INSERT INTO peer_messages (tenant, message_id, campaign_id, thread_id, send_time, body)"
        " VALUES (:tenant, :message, :campaign, :thread, :send_time, :body) ON CONFLICT DO NOTHING",
        **own,
        message=message.message_id,
        thread=message.thread_id,
        send_time=message.send_time,
        body=message_body(message),
    )
    tx.run(
        "DELETE FROM peer_messages WHERE tenant = :tenant AND campaign_id = :campaign AND send_time < :until",
        **own,
        until=tx.now - micros(MESSAGES_FOR),
    )
