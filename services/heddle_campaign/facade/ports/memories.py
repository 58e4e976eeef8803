"""Stable storage of what campaigns have learned, and of what their agents told each other, as the service needs it."""

from collections.abc import Sequence
from typing import Protocol

from heddle_campaign.facade.ports.listing import ListMemories
from heddle_campaign.rules.learned import Learned, PeerMessage, Speaker
from heddle_core.clock import Micros
from heddle_core.requests import RequestKey


class MemoryStore(Protocol):
    """What campaigns have learned, and what their agents told each other."""

    async def learn(self, memories: Sequence[Learned]) -> None:
        """Write memories; one whose id is taken is left as it stands, also when it was forgotten."""
        ...

    async def known(self, tenant: str, campaign_id: str, most: int = 1_000) -> tuple[Learned, ...]:
        """What a campaign knows, pinned ones and the newest first."""
        ...

    async def every(self, after: tuple[str, str], most: int) -> tuple[Learned, ...]:
        """Memories of all tenants behind a place, by tenant and id; `("", "")` is before the first."""
        ...

    async def memory(self, tenant: str, memory_id: str) -> Learned | None:
        """A memory by its id."""
        ...

    async def memories(self, command: ListMemories) -> tuple[Learned, ...]:
        """A page, up to one more than were asked for."""
        ...

    async def pin(self, key: RequestKey, memory_id: str, pinned: bool) -> Learned:
        """Pin a memory, or no longer. Raises MemoryNotFound, RequestIdReused."""
        ...

    async def forget(self, key: RequestKey, memory_id: str) -> None:
        """Erase a memory for good; a repeat of the request changes nothing. Raises MemoryNotFound, RequestIdReused."""
        ...

    async def forget_thread(self, tenant: str, thread_id: str) -> int:
        """Erase what was learned from a thread that was deleted, and said in it; how much that was."""
        ...

    async def fade(self, memories: Sequence[Learned]) -> tuple[Learned, ...]:
        """Erase memories that are worth nothing any more, of any tenant; those that went.

        One that was pinned or used since it was read stays.
        """
        ...

    async def note_use(self, tenant: str, memory_ids: Sequence[str]) -> None:
        """Write down that memories were given to a turn now."""
        ...

    async def tell(self, message: PeerMessage) -> None:
        """Keep a message between agents; one whose id is taken is left as it stands."""
        ...

    async def speakers(self, after: tuple[str, str], most: int) -> tuple[Speaker, ...]:
        """Threads of all tenants that messages were sent from, by tenant and id; `("", "")` is before the first."""
        ...

    async def messages(self, tenant: str, campaign_id: str, *, since: Micros, most: int) -> tuple[PeerMessage, ...]:
        """Messages of a campaign, newest first."""
        ...
