"""What campaigns have learned and told, on every engine: kept once, found, pinned, used, and forgotten for good."""

from collections.abc import AsyncGenerator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from heddle_campaign.facade.ports.listing import ListMemories
from heddle_campaign.rules.learned import Citation, PeerMessage, PeerMessageKind, Speaker
from heddle_campaign.rules.memories import MemoryKind
from heddle_client.values import AssetReference
from heddle_core.clock import Micros
from heddle_core.companion_errors import MemoryNotFound
from heddle_core.errors import RequestIdReused
from heddle_core.ids import TenantId
from tests.kit.campaign_stores import ACME, ENGINES, NOW, SECOND, Campaigns, memory_of

OTHER = TenantId("other")
CITED = Citation("thr_1", 3, 9, "run_1")


@pytest_asyncio.fixture(name="world", params=ENGINES)
async def opened(request: Any, tmp_path: Path) -> AsyncGenerator[Campaigns]:
    async with ENGINES[request.param](tmp_path) as world:
        await world.create()
        yield world


def message(message_id: str, at: int, **fields: Any) -> PeerMessage:
    given: dict[str, Any] = {"kind": PeerMessageKind.NOTICE, "sender_role": "writer", "text": "hi", **fields}
    given = {"tenant": ACME, "campaign_id": "c1", **given}
    return PeerMessage(message_id=message_id, send_time=Micros(NOW + at * SECOND), **given)


async def names(world: Campaigns, **filters: Any) -> list[str]:
    found = await world.memories.memories(ListMemories(ACME, "c1", 9, descending=False, **filters))
    return [each.memory.memory_id for each in found]


async def test_a_memory_is_kept_with_where_it_was_learned(world: Campaigns) -> None:
    learned = memory_of(
        "mem_1",
        "Ünder\0 way",
        5,
        kind=MemoryKind.WINNER,
        platform="tiktok",
        content_type="video",
        tags=("a", "b"),
        importance=1 / 3,
        confidence=0.1,
        performance=0.9,
        pinned=True,
        last_used=Micros(NOW + 7),
        citation=CITED,
        performance_json='{"likes":1}',
    )
    await world.memories.learn([learned])
    assert await world.memories.memory(ACME, "mem_1") == learned
    assert await world.memories.known(ACME, "c1") == (learned,)
    assert await world.memories.memory(OTHER, "mem_1") is None


async def test_a_memory_whose_id_is_taken_is_left_as_it_stands(world: Campaigns) -> None:
    first = memory_of("mem_1", "first")
    await world.memories.learn([first, memory_of("mem_1", "twin")])
    await world.memories.learn([memory_of("mem_1", "second"), memory_of("mem_2")])
    assert await world.memories.memory(ACME, "mem_1") == first
    assert await world.memories.memory(ACME, "mem_2") is not None


async def test_what_was_forgotten_is_never_learned_again_however_it_was_forgotten(world: Campaigns) -> None:
    asked, threaded, faded = memory_of("asked"), memory_of("threaded", citation=CITED), memory_of("faded")
    kept = memory_of("kept", citation=replace(CITED, thread_id="thr_2"))
    await world.memories.learn([asked, threaded, faded, kept])
    key = world.key("ForgetMemory")
    await world.memories.forget(key, "asked")
    assert await world.memories.forget_thread(ACME, "thr_1") == 1
    assert await world.memories.forget_thread(ACME, "thr_1") == 0
    assert await world.memories.forget_thread(OTHER, "thr_2") == 0
    assert await world.memories.fade([faded, faded, memory_of("none")]) == (faded,)
    await world.memories.learn([asked, threaded, faded])
    assert await names(world) == ["kept"]
    await world.memories.forget(key, "asked")
    with pytest.raises(RequestIdReused):
        await world.memories.forget(replace(key, fingerprint=b"other"), "kept")
    with pytest.raises(MemoryNotFound):
        await world.memories.forget(world.key("ForgetMemory"), "asked")
    with pytest.raises(MemoryNotFound):
        await world.memories.forget(world.key("ForgetMemory", tenant="other"), "kept")
    await world.create("cx", tenant=OTHER)
    await world.memories.learn([memory_of("asked", tenant=OTHER, campaign_id="cx")])
    assert await world.memories.memory(OTHER, "asked") is not None, "ids are of a tenant"


async def test_a_memory_that_was_pinned_or_used_since_it_was_read_does_not_fade(world: Campaigns) -> None:
    await world.memories.learn([memory_of("pinned"), memory_of("used"), memory_of("used_again"), memory_of("idle")])
    await world.memories.note_use(ACME, ["used_again"])
    read = await world.memories.known(ACME, "c1")
    world.clock.advance(60)
    await world.memories.pin(world.key("PinMemory"), "pinned", True)
    await world.memories.note_use(ACME, ["used", "used_again"])
    assert [each.memory.memory_id for each in await world.memories.fade(read)] == ["idle"]
    assert await names(world) == ["pinned", "used", "used_again"]
    seen = await world.memories.known(ACME, "c1")
    assert [each.memory.memory_id for each in await world.memories.fade(seen)] == ["used", "used_again"]


async def test_a_pin_is_set_and_taken_away_once_a_request(world: Campaigns) -> None:
    await world.memories.learn([memory_of("a"), memory_of("b", at=1), memory_of("c", at=2)])
    key = world.key("PinMemory")
    assert (await world.memories.pin(key, "a", True)).memory.pinned
    assert [each.memory.memory_id for each in await world.memories.known(ACME, "c1", 2)] == ["a", "c"]
    assert not (await world.memories.pin(world.key("PinMemory"), "a", False)).memory.pinned
    assert not (await world.memories.pin(key, "a", True)).memory.pinned, "a repeat changes nothing"
    with pytest.raises(RequestIdReused):
        await world.memories.pin(replace(key, fingerprint=b"other"), "b", True)
    with pytest.raises(MemoryNotFound):
        await world.memories.pin(world.key("PinMemory"), "none", True)


async def test_the_use_of_memories_is_written_down_at_the_databases_time(world: Campaigns) -> None:
    await world.memories.learn([memory_of("a"), memory_of("b")])
    world.clock.advance(60)
    await world.memories.note_use(ACME, ["b", "b", "none"])
    found = await world.memories.memory(ACME, "b")
    assert found is not None
    assert found.memory.last_used == NOW + 60 * SECOND
    assert (await world.memories.known(ACME, "c1"))[1].memory.last_used is None


async def test_memories_are_listed_by_page_order_and_filter(world: Campaigns) -> None:
    texts = ("Cats sell 100% more", "dogs sell", "CATS_and_dogs", "birds", "CATS XandY")
    await world.memories.learn(
        memory_of(
            f"m{number}",
            text,
            10 * number,
            importance=(0.5, 1 / 3, 0.9, 0.1, 1 / 3)[number],
            kind=MemoryKind(1 + number % 4),
            platform=("", "tiktok")[number % 2],
            pinned=number == 3,
        )
        for number, text in enumerate(texts)
    )
    world.clock.advance(100)
    await world.memories.note_use(ACME, ["m2"])
    world.clock.advance(100)
    await world.memories.note_use(ACME, ["m0"])

    async def pages(order_by: str, value: Any, *, descending: bool) -> list[str]:
        command = ListMemories(ACME, "c1", 2, order_by=order_by, descending=descending)
        seen: list[str] = []
        while True:
            page = await world.memories.memories(command)
            seen += [each.memory.memory_id for each in page[:2]]
            if len(page) <= 2:
                return seen
            command = replace(command, after=(value(page[1].memory), page[1].memory.memory_id))

    oldest = await pages("create_time", lambda each: str(each.learned), descending=False)
    assert oldest == ["m0", "m1", "m2", "m3", "m4"]
    assert await pages("create_time", lambda each: str(each.learned), descending=True) == oldest[::-1]
    by_importance = await pages("importance", lambda each: repr(each.importance), descending=True)
    assert by_importance == ["m2", "m0", "m4", "m1", "m3"]
    by_use = await pages("last_use_time", lambda each: str(each.last_used or ""), descending=False)
    assert by_use == ["m1", "m3", "m4", "m2", "m0"]
    assert await names(world, kinds=(MemoryKind.OUTCOME, MemoryKind.NOTE)) == ["m0", "m3", "m4"]
    assert await names(world, pinned=True) == ["m3"]
    assert await names(world, pinned=False) == ["m0", "m1", "m2", "m4"]
    assert await names(world, platform="tiktok") == ["m1", "m3"]
    assert await names(world, words=("cats",)) == ["m0", "m2", "m4"]
    assert await names(world, words=("cats", "sell")) == ["m0"]
    assert await names(world, words=("100%",)) == ["m0"], "signs of a pattern are only signs"
    assert await names(world, words=("s_and",)) == ["m2"]
    assert await world.memories.memories(ListMemories(OTHER, "c1", 9)) == ()


async def test_all_memories_are_walked_page_by_page_over_all_tenants(world: Campaigns) -> None:
    await world.create("cx", tenant=OTHER)
    mine = [memory_of(f"m{number}") for number in range(3)]
    theirs = [memory_of(f"m{number}", tenant=OTHER, campaign_id="cx") for number in range(2)]
    await world.memories.learn([*theirs, *mine])
    assert await world.memories.fade([mine[1]]) == (mine[1],)
    place, seen = ("", ""), list[tuple[str, str]]()
    while page := await world.memories.every(place, 2):
        seen += [(each.tenant, each.memory.memory_id) for each in page]
        place = seen[-1]
    assert seen == [("acme", "m0"), ("acme", "m2"), ("other", "m0"), ("other", "m1")]


async def test_threads_that_messages_were_sent_from_are_walked_page_by_page(world: Campaigns) -> None:
    await world.create("c2")
    await world.create("cx", tenant=OTHER)
    said = [("c1", "t2"), ("c2", "t1"), ("c1", "t2"), ("c1", ""), ("c2", "t3")]
    for number, (campaign_id, thread_id) in enumerate(said):
        await world.memories.tell(message(f"msg_{number}", number, campaign_id=campaign_id, thread_id=thread_id))
    await world.memories.tell(message("msg_9", 9, tenant=OTHER, campaign_id="cx", thread_id="t1"))
    place, seen = ("", ""), list[Speaker]()
    while page := await world.memories.speakers(place, 2):
        seen += page
        place = seen[-1].tenant, seen[-1].thread_id
    assert seen == [
        Speaker(ACME, "t1", "c2"),
        Speaker(ACME, "t2", "c1"),
        Speaker(ACME, "t3", "c2"),
        Speaker(OTHER, "t1", "cx"),
    ]


async def test_messages_between_agents_are_kept_once_and_told_newest_first(world: Campaigns) -> None:
    full = message(
        "msg_1",
        1,
        kind=PeerMessageKind.DELIVERED,
        receiver_role="artist",
        text="nül\0",
        asset=AssetReference("as_1", "image/png", "x"),
    )
    with world.changes.bell(ACME, "c1") as bell:
        await world.memories.tell(full)
        assert bell.is_set()
    await world.memories.tell(message("msg_1", 1, text="twin"))
    for number in (3, 2):
        await world.memories.tell(message(f"msg_{number}", number))
    told = await world.memories.messages(ACME, "c1", since=Micros(0), most=9)
    assert [each.message_id for each in told] == ["msg_3", "msg_2", "msg_1"]
    assert told[-1] == full
    since = await world.memories.messages(ACME, "c1", since=Micros(NOW + 2 * SECOND), most=1)
    assert [each.message_id for each in since] == ["msg_3"]
    assert await world.memories.messages(OTHER, "c1", since=Micros(0), most=9) == ()
    month = 31 * 86_400
    world.clock.advance(month)
    await world.memories.tell(message("msg_9", month))
    assert len(await world.memories.messages(ACME, "c1", since=Micros(0), most=9)) == 1


async def test_messages_go_with_the_thread_in_which_they_were_sent(world: Campaigns) -> None:
    await world.memories.learn([memory_of("a", citation=Citation("thr_1", 1, 2, "run_1"))])
    await world.memories.tell(message("msg_1", 1, thread_id="thr_1"))
    await world.memories.tell(message("msg_2", 2, thread_id="thr_2"))
    await world.memories.tell(message("msg_3", 3))
    with world.changes.bell(ACME, "c1") as bell:
        assert await world.memories.forget_thread(OTHER, "thr_1") == 0
        assert await world.memories.forget_thread(ACME, "thr_9") == 0
        assert not bell.is_set()
        assert await world.memories.forget_thread(ACME, "thr_1") == 2
        assert bell.is_set(), "who watches sees it go"
    left = await world.memories.messages(ACME, "c1", since=Micros(0), most=9)
    assert [(each.message_id, each.thread_id) for each in left] == [("msg_3", ""), ("msg_2", "thr_2")]


async def test_what_a_campaign_knew_goes_with_it_and_comes_no_more(world: Campaigns) -> None:
    await world.memories.learn([memory_of("a"), memory_of("b")])
    await world.memories.fade([memory_of("b")])
    await world.memories.tell(message("msg_1", 0))
    await world.store.delete(world.key("DeleteCampaign"), "c1", etag="")
    for table in ("memories", "forgotten_memories", "peer_messages"):
        assert await world.counts(table) == 0, table
    await world.memories.learn([memory_of("a")])
    await world.memories.tell(message("msg_2", 0))
    assert await world.counts("memories") == 0
    assert await world.counts("peer_messages") == 0


async def test_memories_of_several_campaigns_are_learned_together(world: Campaigns) -> None:
    await world.create("c2")
    await world.memories.learn([memory_of("b", campaign_id="c2"), memory_of("a"), memory_of("c", campaign_id="c2")])
    assert [each.memory.memory_id for each in await world.memories.known(ACME, "c2")] == ["c", "b"]
    assert await names(world) == ["a"]
