"""What a campaign's agents write down while they work: notes to remember, and messages to each other.

Both are kept under ids that are made of the call, so that a call that is sent again says nothing twice.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from heddle_campaign.facade.calling import Caller, Calling
from heddle_campaign.facade.ports.campaigns import CampaignStore
from heddle_campaign.facade.ports.memories import MemoryStore
from heddle_campaign.facade.remembering import facts_of, learn_from_thread
from heddle_campaign.rules.extraction import kept_text, message_id, noted, turn_type
from heddle_campaign.rules.learned import Citation, Learned, PeerMessage, PeerMessageKind
from heddle_campaign.rules.memories import MemoryKind
from heddle_client.values import AssetReference
from heddle_core.companion_errors import CampaignNotFound
from heddle_core.errors import invalid
from heddle_core.ids import TenantId


@dataclass(frozen=True, slots=True)
class CallOrigin:
    """Which call it is, and in whose name."""

    tenant: TenantId
    principal: str
    run_id: str
    key: str
    """The call's idempotency key."""
    dry_run: bool = False
    """Whether only to say what would happen."""


@dataclass(frozen=True, slots=True)
class Wording:
    """What an agent wants to be remembered."""

    kind: MemoryKind
    text: str
    platform: str = ""
    """Empty: that of the cycle."""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Letter:
    """What an agent wants others to be told."""

    kind: PeerMessageKind
    text: str
    receiver_role: str = ""
    """Empty: all."""
    asset: AssetReference | None = None


@dataclass(frozen=True, slots=True)
class Messages:
    """Keeps what agents note and say."""

    store: CampaignStore
    memories: MemoryStore
    calling: Calling

    async def note(self, origin: CallOrigin, wording: Wording) -> str:
        """Remember something; the memory's id. Raises InvalidField, RunNotFound, ThreadNotFound."""
        caller = await self.calling.caller(origin.tenant, origin.principal, origin.run_id)
        memory = noted(
            wording.kind,
            wording.text,
            key=origin.key,
            role=caller.turn.role,
            platform=wording.platform or caller.cycle.platform,
            tags=wording.tags,
            now=await self.store.now(),
            run_id=origin.run_id,
            about=turn_type(caller.cycle, caller.turn),
        )
        if not origin.dry_run:
            citation = await _place_of_call(caller)
            campaign_id = caller.cycle.key.campaign_id
            learned = Learned(origin.tenant, campaign_id, memory, citation)
            await learn_from_thread(caller.runs, self.memories, citation, (learned,))
        return memory.memory_id

    async def send(self, origin: CallOrigin, letter: Letter) -> str:
        """Tell other agents something; the message's id.

        Raises:
            InvalidField: nobody has that role, or the run is of no campaign.
            CampaignNotFound: it is gone.
            RunNotFound.
        """
        caller = await self.calling.caller(origin.tenant, origin.principal, origin.run_id)
        campaign_id, sender = caller.cycle.key.campaign_id, caller.turn.role
        campaign = await self.store.campaign(origin.tenant, campaign_id)
        if campaign is None:
            raise CampaignNotFound(campaign_id)
        others = sorted({each.role for each in campaign.settings.agents} - {sender})
        if letter.receiver_role and letter.receiver_role not in others:
            raise invalid("receiver_role", f"one of {', '.join(others) or 'nobody: there is no other agent'}")
        message = PeerMessage(
            origin.tenant,
            campaign_id,
            message_id(origin.run_id, origin.key),
            letter.kind,
            sender,
            kept_text(letter.text),
            await self.store.now(),
            letter.receiver_role,
            letter.asset,
            caller.run.thread_id,
        )
        if not origin.dry_run:
            await self.memories.tell(message)
        return message.message_id


def messages_for(messages: Iterable[PeerMessage], role: str) -> tuple[PeerMessage, ...]:
    """What a role is told of a campaign's messages: those to it or to all, by others; in the order given."""
    return tuple(each for each in messages if each.sender_role != role and each.receiver_role in ("", role))


async def _place_of_call(caller: Caller) -> Citation:
    """From the call that is under way to the newest fact of its run; a writing call has no other beside it."""
    facts = await facts_of(caller.runs, caller.run)
    started = [each.sequence for each in facts if each.kind == "tool_call_started"]
    first = started[-1] if started else caller.run.request_sequence
    return Citation(caller.run.thread_id, first, facts[-1].sequence if facts else first, caller.run.run_id)
