"""What campaigns learn of runs and metrics, what they forget, and what their agents note and say with tools."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from heddle_campaign.facade.forgetting import Forgotten
from heddle_campaign.facade.lessons import Lessons
from heddle_campaign.facade.ports.decisions import Decided, Decision
from heddle_campaign.rules.campaigns import CampaignAgent
from heddle_campaign.rules.cycles import Signal
from heddle_campaign.rules.learned import Citation, PeerMessage, PeerMessageKind
from heddle_campaign.rules.memories import MemoryKind
from heddle_campaign.store.store import Store
from heddle_client.values import FactPage, RunState, Text
from heddle_core.clock import Micros
from heddle_core.errors import IllegalTransition, InvalidField, ScopeMissing, ServiceUnreachable, StoreUnavailable
from heddle_core.runtime_errors import CursorTooOld
from tests.kit.campaign_memory import DAY, SIGNAL, SOON, World, cycle_at_work
from tests.kit.campaign_stores import ACME, ADA, NOW, SECOND, memory_of


@pytest.fixture(name="world")
async def at_work(tmp_path: Path) -> AsyncIterator[World]:
    async with cycle_at_work(tmp_path) as world:
        yield world


# --- remembering -----------------------------------------------------------------------------------------


async def test_an_ended_run_is_remembered_with_the_stretch_of_its_thread(world: World) -> None:
    world.runtime.add(parts=(Text("Decision: post daily"),))
    await world.remember()
    learned = sorted((await world.known()).values(), key=lambda each: each.memory.kind)
    assert [each.memory.kind for each in learned] == [MemoryKind.OUTCOME, MemoryKind.DECISION]
    assert {each.citation for each in learned} == {Citation("thread_1", 3, 6, "run_1")}
    assert world.runtime.creators == {ADA}


async def test_a_run_that_is_remembered_twice_teaches_nothing_twice(world: World) -> None:
    world.runtime.add()
    await world.remember()
    before = await world.known()
    await world.remember()
    assert await world.known() == before


async def test_the_stretch_of_a_long_run_is_read_to_its_end(world: World) -> None:
    world.runtime.add(kinds=["step_started"] * 1_234)
    await world.remember()
    (learned,) = (await world.known()).values()
    assert learned.citation == Citation("thread_1", 3, 1_236, "run_1")
    assert len(world.runtime.asked) == 4


async def test_a_run_whose_facts_were_trimmed_is_cited_by_its_request(world: World) -> None:
    world.runtime.add()

    async def trimmed(*_: object, **__: object) -> FactPage:
        raise CursorTooOld(2, 900)

    world.runtime.facts = trimmed  # type: ignore[method-assign]
    await world.remember()
    (learned,) = (await world.known()).values()
    assert learned.citation == Citation("thread_1", 3, 3, "run_1")


async def test_a_run_that_has_not_ended_is_not_remembered(world: World) -> None:
    world.runtime.add(state=RunState.RUNNING)
    with pytest.raises(IllegalTransition, match="has ended"):
        await world.remember()


async def test_a_run_whose_thread_is_gone_teaches_nothing(world: World) -> None:
    await world.remember()
    assert await world.known() == {}


async def test_a_thread_that_is_deleted_while_it_is_learned_from_leaves_nothing_behind(world: World) -> None:
    world.runtime.add()
    learn = world.runtime.facts

    async def gone_afterwards(*given: Any, **named: Any) -> FactPage:
        page = await learn(*given, **named)
        world.runtime.runs.clear()
        return page

    world.runtime.facts = gone_afterwards  # type: ignore[method-assign]
    await world.remember()
    assert await world.known() == {}


async def test_a_runtime_that_is_away_is_told_to_the_caller_who_tries_again(world: World) -> None:
    world.runtime.add()
    world.runtime.fault = ServiceUnreachable("runtime", "down")
    with pytest.raises(ServiceUnreachable):
        await world.remember()
    world.runtime.fault = None
    await world.remember()
    assert len(await world.known()) == 1


# --- forgetting ------------------------------------------------------------------------------------------


async def test_what_was_forgotten_is_never_learned_again(world: World) -> None:
    world.runtime.add(parts=(Text("Decision: post daily"),))
    await world.remember()
    (decision,) = [each for each in await world.known() if (await world.known())[each].memory.text == "post daily"]
    await world.campaigns.memories.forget(world.campaigns.key("ForgetMemory"), decision)
    await world.remember()
    assert [each.memory.kind for each in (await world.known()).values()] == [MemoryKind.OUTCOME]


async def test_what_a_deleted_thread_taught_is_forgotten_and_not_learned_again(world: World) -> None:
    world.runtime.add()
    await world.remember()
    await world.campaigns.memories.learn([memory_of("mem_other", citation=Citation("thread_9", 1, 2, "run_9"))])
    assert await world.forgetting().forget_thread(ACME, "thread_1") == 1
    await world.remember()
    assert set(await world.known()) == {"mem_other"}


async def test_a_round_erases_what_has_faded_and_leaves_what_is_pinned_or_worth_something(world: World) -> None:
    old = -2_000 * DAY
    await world.campaigns.memories.learn(
        [
            memory_of("mem_faded", at=old, importance=0.2),
            memory_of("mem_pinned", at=old, importance=0.2),
            memory_of("mem_fresh", importance=0.2),
        ]
    )
    await world.campaigns.memories.pin(world.campaigns.key("PinMemory"), "mem_pinned", True)
    assert await world.forgetting().round() == Forgotten(faded=1)
    assert set(await world.known()) == {"mem_pinned", "mem_fresh"}


async def test_a_round_asks_for_cited_threads_and_erases_what_came_of_those_that_are_gone(world: World) -> None:
    world.runtime.add("run_1")
    await world.campaigns.memories.learn(
        [
            memory_of("mem_1", citation=Citation("thread_1", 3, 6, "run_1")),
            memory_of("mem_2", citation=Citation("thread_1", 4, 5, "run_1")),
            memory_of("mem_3", citation=Citation("thread_gone", 3, 6, "run_gone")),
            memory_of("mem_4", citation=Citation("thread_gone", 8, 9, "run_gone")),
            memory_of("mem_5"),
        ]
    )
    world.runtime.deleted.add("thread_gone")
    assert await world.forgetting().round() == Forgotten(asked=2, of_threads=2)
    assert set(await world.known()) == {"mem_1", "mem_2", "mem_5"}
    assert sorted(world.runtime.asked) == ["thread_1", "thread_gone"]


async def test_a_round_asks_for_threads_that_agents_wrote_from_and_erases_what_those_said_that_are_gone(
    world: World,
) -> None:
    world.runtime.add("run_1")
    for number, thread_id in enumerate(("thread_1", "thread_child", "thread_lost")):
        told = PeerMessage(
            ACME, "c1", f"msg_{number}", PeerMessageKind.NOTICE, "writer", "Hear!", NOW, thread_id=thread_id
        )
        await world.campaigns.memories.tell(told)
    world.runtime.deleted.add("thread_child")
    assert await world.forgetting().round() == Forgotten(asked=3, of_threads=1, unknown=1)
    assert [each.thread_id for each in await world.told()] == ["thread_lost", "thread_1"]


async def test_a_round_goes_on_with_messages_where_the_last_one_stopped(world: World) -> None:
    for number in range(20):
        world.runtime.add(f"run_{number:02}")
        told = PeerMessage(ACME, "c1", f"msg_{number}", PeerMessageKind.NOTICE, "writer", "Hear!", NOW)
        await world.campaigns.memories.tell(replace(told, thread_id=f"thread_{number:02}"))
    await world.campaigns.memories.learn([memory_of("mem_1", citation=Citation("thread_00", 3, 6, "run_00"))])
    forgetting = world.forgetting(most_asked=9)
    rounds: list[list[str]] = []
    for _ in range(4):
        world.runtime.asked.clear()
        await forgetting.round()
        rounds.append(sorted(world.runtime.asked))
    threads = [f"thread_{number:02}" for number in range(20)]
    assert rounds == [threads[:8], threads[8:16], threads[16:], threads[:8]]


async def test_a_runtime_that_does_not_know_a_thread_and_has_not_deleted_it_makes_nothing_forgotten(
    world: World,
) -> None:
    learned = [memory_of("mem_1", citation=Citation("thread_1", 3, 6, "run_1"))]
    await world.campaigns.memories.learn(learned)
    assert await world.forgetting().round() == Forgotten(asked=1, unknown=1)
    assert set(await world.known()) == {"mem_1"}


async def test_a_creator_who_may_not_look_any_more_keeps_his_memories_and_nobody_from_the_round(world: World) -> None:
    cited = [memory_of(f"mem_{number}", citation=Citation(f"thread_{number}", 3, 6, "run_9")) for number in range(20)]
    await world.campaigns.memories.learn(cited)
    world.runtime.fault = ScopeMissing("ListEvents", "runtime.read")
    assert await world.forgetting().round() == Forgotten(asked=20, unknown=20)
    assert len(await world.known()) == 20


async def test_a_thread_whose_facts_were_trimmed_is_still_there(world: World) -> None:
    await world.campaigns.memories.learn([memory_of("mem_1", citation=Citation("thread_1", 3, 6, "run_1"))])
    world.runtime.fault = CursorTooOld(2, 900)
    assert (await world.forgetting().round()).asked == 1
    assert set(await world.known()) == {"mem_1"}


async def test_a_round_asks_for_so_many_threads_at_most_and_the_next_goes_on_there(world: World) -> None:
    for number in range(20):
        world.runtime.add(f"run_{number:02}")
    cited = [
        memory_of(f"mem_{number:02}", citation=Citation(f"thread_{number:02}", 3, 6, f"run_{number:02}"))
        for number in range(20)
    ]
    await world.campaigns.memories.learn(cited)
    forgetting = world.forgetting(most_asked=8)
    rounds: list[list[str]] = []
    for _ in range(4):
        world.runtime.asked.clear()
        await forgetting.round()
        rounds.append(sorted(world.runtime.asked))
    threads = [f"thread_{number:02}" for number in range(20)]
    assert rounds == [threads[:8], threads[8:16], threads[16:], threads[:8]]


async def test_a_runtime_that_is_away_ends_the_asking_and_nothing_else(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.runtime.fault = ServiceUnreachable("runtime", "down")
    await world.campaigns.memories.learn(
        [
            memory_of("mem_1", citation=Citation("thread_1", 3, 6, "run_1")),
            memory_of("mem_faded", at=-2_000 * DAY, importance=0.2),
        ]
    )
    assert (await world.forgetting().round()).faded == 1
    assert set(await world.known()) == {"mem_1"}
    assert "the runtime cannot be asked for threads" in caplog.messages


async def test_a_round_begins_when_the_service_does(world: World) -> None:
    world.runtime.add()
    await world.campaigns.memories.learn([memory_of("mem_1", citation=Citation("thread_1", 3, 6, "run_1"))])
    async with world.forgetting().serving(), asyncio.timeout(SOON):
        await world.runtime.looked.wait()


# --- lessons of metrics ----------------------------------------------------------------------------------


def metrics(**payload: Any) -> Signal:
    posts = [{"platform": "instagram", "format": "reel", "engagement": number} for number in range(8)]
    return replace(SIGNAL, payload_json=json.dumps({"posts": posts, **payload}))


def lessons(world: World) -> Lessons:
    return Lessons(world.campaigns.store, world.campaigns.memories)


async def test_reported_metrics_teach_every_active_campaign_once_a_dedupe_key(world: World) -> None:
    await world.campaigns.activate("c2")
    await world.campaigns.create("c3")
    await lessons(world).learn(ACME, metrics())
    await lessons(world).learn(ACME, metrics())
    counts = [len(await world.known(each)) for each in ("c1", "c2", "c3")]
    assert counts == [1, 1, 0]
    (learned,) = (await world.known()).values()
    assert learned.memory.kind is MemoryKind.WINNER
    await lessons(world).learn(ACME, replace(metrics(), dedupe_key="week-13"))
    assert len(await world.known()) == 2


async def test_a_repeat_of_a_report_asks_no_campaign_again_however_many_it_is_for(world: World) -> None:
    asked: list[str] = []

    class Asked(Store):
        async def decide(self, tenant: str, campaign_id: str, decision: Decision, **named: Any) -> Decided:
            asked.append(campaign_id)
            return await super().decide(tenant, campaign_id, decision, **named)

    for number in range(20):
        await world.campaigns.activate(f"c_{number}")
    learning = Lessons(Asked(world.campaigns.databases[0], world.campaigns.changes), world.campaigns.memories)
    await learning.learn(ACME, metrics())
    first = sorted(asked)
    await learning.learn(ACME, metrics())
    assert sorted(asked) == first == sorted(["c1", *(f"c_{number}" for number in range(20))])


async def test_campaigns_learn_from_a_report_side_by_side_and_share_commits(world: World) -> None:
    for number in range(20):
        await world.campaigns.activate(f"c_{number}")
    before = world.campaigns.databases[0].statistics
    await lessons(world).learn(ACME, metrics())
    after = world.campaigns.databases[0].statistics
    assert after.operations - before.operations == 2 * 21
    assert after.commits - before.commits < 21


async def test_what_was_learned_but_not_counted_is_counted_by_a_repeat(world: World) -> None:
    class Failing(Store):
        async def decide(self, *_: object, **__: object) -> Decided:
            raise StoreUnavailable("full")

    failing = Failing(world.campaigns.databases[0], world.campaigns.changes)
    with pytest.raises(StoreUnavailable):
        await Lessons(failing, world.campaigns.memories).learn(ACME, metrics())
    assert (await world.campaigns.campaign()).reports.posted == ()
    await lessons(world).learn(ACME, metrics())
    (posted,) = (await world.campaigns.campaign()).reports.posted
    assert (posted.posts, len(await world.known())) == (8, 1)


async def test_a_winner_that_a_clock_ahead_of_ours_reports_was_learned_now(world: World) -> None:
    await lessons(world).learn(ACME, replace(metrics(), occur_time=Micros(NOW + 36 * 365 * DAY * SECOND)))
    (learned,) = (await world.known()).values()
    assert learned.memory.learned == NOW


async def test_a_campaign_that_is_named_learns_alone(world: World) -> None:
    await world.campaigns.activate("c2")
    await lessons(world).learn(ACME, metrics(), "c2")
    await lessons(world).learn(ACME, replace(metrics(campaign_id="c2"), dedupe_key="week-13"))
    await lessons(world).learn(ACME, metrics(campaign_id="unknown"))
    assert [len(await world.known(each)) for each in ("c1", "c2")] == [0, 2]


async def test_a_campaign_learns_from_posts_on_its_own_platforms_only(world: World) -> None:
    await world.campaigns.activate("c2", agents=(CampaignAgent("writer", "agent_writer", platforms=("linkedin",)),))
    await lessons(world).learn(ACME, metrics())
    assert [len(await world.known(each)) for each in ("c1", "c2")] == [1, 0]


async def test_signals_of_other_kinds_and_bad_payloads_teach_nothing(world: World) -> None:
    await lessons(world).learn(ACME, replace(metrics(), kind="trend_spike"))
    await lessons(world).learn(ACME, SIGNAL)
    for payload in ("[]", "{", "[" * 100_000):
        with pytest.raises(InvalidField, match="JSON object"):
            await lessons(world).learn(ACME, replace(SIGNAL, payload_json=payload))
    assert await world.known() == {}
