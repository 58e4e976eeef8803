"""Where what campaigns know meets the messages of the contract."""

from heddle.campaign.v1alpha1 import memory_pb2
from heddle.common.v1.content_pb2 import AssetReference
from heddle_campaign.rules.learned import Learned, PeerMessage
from heddle_client.wire_times import timestamp, timestamp_if


def memory_message(learned: Learned) -> memory_pb2.Memory:
    """A memory as clients see it."""
    memory, citation = learned.memory, learned.citation
    return memory_pb2.Memory(
        memory_id=memory.memory_id,
        campaign_id=learned.campaign_id,
        kind=memory_pb2.MemoryKind.ValueType(memory.kind),
        text=memory.text,
        platform=memory.platform,
        content_type=memory.content_type,
        tags=memory.tags,
        importance=memory.importance,
        confidence=memory.confidence,
        performance_json=learned.performance_json,
        citation=memory_pb2.MemoryCitation(
            thread_id=citation.thread_id,
            first_sequence=citation.first_sequence,
            last_sequence=citation.last_sequence,
            run_id=citation.run_id,
        )
        if citation is not None
        else None,
        pinned=memory.pinned,
        create_time=timestamp(memory.learned),
        last_use_time=timestamp_if(memory.last_used),
    )


def peer_message(message: PeerMessage) -> memory_pb2.PeerMessage:
    """A message between agents as clients see it."""
    asset = message.asset
    return memory_pb2.PeerMessage(
        kind=memory_pb2.PeerMessageKind.ValueType(message.kind),
        sender_role=message.sender_role,
        receiver_role=message.receiver_role,
        text=message.text,
        asset=AssetReference(asset_id=asset.asset_id, media_type=asset.media_type, name=asset.name)
        if asset is not None
        else None,
        send_time=timestamp(message.send_time),
    )
