"""Campaigns as a whole: runtime, spawn and campaign as processes, a broker, a database, and a model on the wire."""

import json
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from heddle.campaign.v1alpha1 import campaign_pb2, cycle_pb2
from heddle.campaign.v1alpha1.cycle_pb2 import CycleOrigin, CycleState
from heddle.campaign.v1alpha1.memory_request_pb2 import ForgetMemoryRequest, ListMemoriesRequest
from heddle.runtime.v1.event_pb2 import ThreadEvent
from heddle.runtime.v1.run_pb2 import RunState
from heddle.runtime.v1.thread_service_pb2 import ListEventsRequest
from heddle.spawn.v1alpha1.spawn_pb2 import SPAWN_STATE_COMPLETED
from heddle.spawn.v1alpha1.spawn_service_pb2 import ListSpawnsRequest
from tests.kit.campaign_stack import CampaignStack, campaign_stack
from tests.kit.model_servers import FakeAnswer, FakeCall, ModelServer, openai_server
from tests.kit.running_campaigns import campaign
from tests.kit.running_runtime import new_id

pytestmark = [pytest.mark.timeout(110), pytest.mark.asyncio(loop_scope="module")]

GROUP = {"children": [{"agent": "helper", "task": f"Look at part {number}."} for number in (1, 2, 3)]}
DECISION = json.dumps(
    {"answer": "Posted.", "decisions": ["Post about looms on Mondays, because readers asked for it."]}
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def model() -> AsyncGenerator[ModelServer]:
    async with openai_server(FakeAnswer(text=("Done.",))) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=("sqlite", "postgres"))
async def stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, model: ModelServer
) -> AsyncGenerator[CampaignStack]:
    folder: Path = tmp_path_factory.mktemp("campaigns")
    settings = {
        "MODEL": "openai:fake-1",
        "MODELS__OPENAI_API_KEY": "sk-none",
        "MODELS__OPENAI_BASE_URL": f"{model.url}/v1",
    }
    async with campaign_stack(folder, request.param, settings) as running:
        await running.agent("writer")
        await running.agent("lead", "spawn/*")
        await running.agent("helper")
        yield running


async def events(stack: CampaignStack, thread_id: str) -> list[ThreadEvent]:
    page = await stack.stubs.threads.ListEvents(ListEventsRequest(thread_id=thread_id, page_size=1_000))
    return list(page.events)


def kinds(logged: Sequence[ThreadEvent]) -> list[str | None]:
    return [each.WhichOneof("payload") for each in logged]


async def cycle_of(stack: CampaignStack, agent_id: str) -> cycle_pb2.Cycle:
    """The cycle of a new campaign that was triggered by hand, once it is COMPLETED."""
    made = await stack.campaigns.active(
        campaign=campaign(agents=[campaign_pb2.CampaignAgent(role="author", agent_id=agent_id, objective="Write.")])
    )
    triggered = await stack.campaigns.trigger(made.campaign_id)
    return await stack.campaigns.until(triggered.cycle_id, CycleState.CYCLE_STATE_COMPLETED)


def prompt(model: ModelServer) -> str:
    """All that the model was last told."""
    return json.dumps(model.seen[-1].body["messages"], ensure_ascii=False)


async def test_a_trigger_makes_a_run_whose_completion_is_read_as_chat_reads_it(
    stack: CampaignStack, model: ModelServer
) -> None:
    model.answers.clear()
    model.answers.append(FakeAnswer(text=("The loom ", "is warped.")))
    done = await cycle_of(stack, "writer")
    assert done.origin == CycleOrigin.CYCLE_ORIGIN_MANUAL
    (turn,) = done.turns
    shown = await stack.snapshot(turn.thread_id)
    assert (shown.last_run.run_id, shown.last_run.state) == (turn.run_id, RunState.RUN_STATE_COMPLETED)
    assert shown.last_assistant_message.content[0].text == "The loom is warped."
    log = await events(stack, turn.thread_id)
    assert [each.sequence for each in log] == list(range(1, len(log) + 1))
    assert kinds(log)[-1] == "run_completed"
    asked = next(each.turn_requested for each in log if each.HasField("turn_requested"))
    assert (asked.request_id, asked.turn.trigger.reference) == (turn.request_id, done.cycle_id)
    assert done.usage.model_calls == 1


async def test_a_group_of_three_children_works_under_a_campaigns_turn(stack: CampaignStack, model: ModelServer) -> None:
    calls = (FakeCall("spawn_group", (json.dumps(GROUP),), "call_1"),)
    model.answers.clear()
    model.answers.extend([FakeAnswer(calls=calls), *[FakeAnswer(text=("part",))] * 3, FakeAnswer(text=("All three.",))])
    done = await cycle_of(stack, "lead")
    (turn,) = done.turns
    shown = await stack.snapshot(turn.thread_id)
    assert shown.last_assistant_message.content[0].text == "All three."
    assert "run_waiting" in kinds(await events(stack, turn.thread_id)), "the parent waits as a row"
    page = await stack.spawns.ListSpawns(ListSpawnsRequest(parent_run_id=turn.run_id))
    assert [each.state for each in page.spawns] == [SPAWN_STATE_COMPLETED] * 3
    for child in page.spawns:
        told = await stack.snapshot(child.thread_id)
        assert (told.last_run.run_id, told.last_run.state) == (child.run_id, RunState.RUN_STATE_COMPLETED)


async def test_a_second_cycle_is_given_what_the_first_has_learned_until_it_is_forgotten(
    stack: CampaignStack, model: ModelServer
) -> None:
    model.answers.clear()
    model.answers.append(FakeAnswer(text=(DECISION,)))
    made = await stack.campaigns.active(campaign=campaign())

    async def fired() -> tuple[cycle_pb2.CycleTurn, Any]:
        triggered = await stack.campaigns.trigger(made.campaign_id)
        done = await stack.campaigns.until(triggered.cycle_id, CycleState.CYCLE_STATE_COMPLETED)
        log = await events(stack, done.turns[0].thread_id)
        requested = [each.turn_requested for each in log if each.run_id == done.turns[0].run_id]
        return done.turns[0], next(each for each in requested if each.turn.content)

    first, _ = await fired()
    assert not first.memories
    listed = await stack.campaigns.campaigns.ListMemories(ListMemoriesRequest(campaign_id=made.campaign_id))
    learned = next(each for each in listed.memories if "looms on Mondays" in each.text)
    assert learned.citation.run_id == first.run_id
    cited = await events(stack, learned.citation.thread_id)
    assert cited[learned.citation.last_sequence - 1].run_id == first.run_id

    second, asked = await fired()
    assert learned.memory_id in [each.memory_id for each in second.memories]
    assert learned.memory_id in [item.item_id for item in asked.turn.context]
    assert "looms on Mondays" in prompt(model)

    for each in listed.memories:
        await stack.campaigns.campaigns.ForgetMemory(ForgetMemoryRequest(request_id=new_id(), memory_id=each.memory_id))
    model.answers.clear()
    model.answers.append(FakeAnswer(text=("Nothing decided.",)))
    for each in (
        await stack.campaigns.campaigns.ListMemories(ListMemoriesRequest(campaign_id=made.campaign_id))
    ).memories:
        await stack.campaigns.campaigns.ForgetMemory(ForgetMemoryRequest(request_id=new_id(), memory_id=each.memory_id))
    third, asked = await fired()
    assert learned.memory_id not in [each.memory_id for each in third.memories]
    assert learned.memory_id not in [item.item_id for item in asked.turn.context]
    assert "looms on Mondays" not in prompt(model)
