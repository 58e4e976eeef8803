"""The tools of a campaign's agents as the runtime calls them: what is noted, what is told to whom, what is refused."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from heddle.tools.v1 import tool_service_pb2 as pb
from heddle.tools.v1.tool_service_pb2_grpc import ToolServiceStub
from heddle_campaign.facade.calling import Calling
from heddle_campaign.facade.messages import Messages, messages_for
from heddle_campaign.facade.ports.campaigns import CampaignStore
from heddle_campaign.rpc import tool_service
from heddle_campaign.rules.cycles import Cycle
from heddle_campaign.rules.learned import Citation, PeerMessageKind
from heddle_campaign.rules.memories import MemoryKind
from heddle_client.values import AssetReference, RunState
from heddle_core.clock import Micros
from heddle_core.companion_errors import CampaignNotFound
from heddle_core.errors import InvalidField, ScopeMissing, StoreUnavailable
from heddle_core.ids import CountingIds, PrincipalId, TenantId
from heddle_grpc import tool_calls
from heddle_grpc.channel import open_channel
from heddle_grpc.identity import ACT_AS, Development, Identity
from heddle_grpc.routes import Service
from heddle_grpc.server import Server
from heddle_grpc.settings import ChannelSettings
from heddle_grpc.tool_routing import TOOL_SERVICE
from tests.kit.campaign_memory import World, cycle_at_work, turn
from tests.kit.campaign_stores import ACME, NOW
from tests.kit.grpc_probe import local


@pytest.fixture(name="world")
async def at_work(tmp_path: Path) -> AsyncIterator[World]:
    async with cycle_at_work(tmp_path) as world:
        yield world


# --- the tools of agents ---------------------------------------------------------------------------------


CALLING = ("turn_requested", "run_started", "step_started", "tool_call_requested", "tool_call_started")
SERVICE = Identity(ACME, PrincipalId("runtime"), frozenset({ACT_AS}))


@asynccontextmanager
async def tools(
    world: World, store: CampaignStore | None = None, identity: Identity = SERVICE
) -> AsyncGenerator[ToolServiceStub]:
    """The campaign's ToolService, as it is served."""
    found = store or world.campaigns.store
    messages = Messages(found, world.campaigns.memories, Calling(found, world.runtime.of, (0.001, 0.001)))
    servicer = tool_service.CampaignTools(messages)
    served = Service(TOOL_SERVICE, servicer, tool_calls.RULES)
    server = Server(local(), [served], authenticators=[Development(identity)], ids=CountingIds())
    async with server.running():
        settings = ChannelSettings.model_validate({"address": f"127.0.0.1:{server.ports[0]}", "attempts": 1})
        async with open_channel(settings) as channel:
            yield ToolServiceStub(channel)


def call(tool: str, key: str = "run_1:call_1", run_id: str = "run_1", **arguments: Any) -> pb.CallToolRequest:
    context = pb.CallContext(tenant="acme", principal="ada", thread_id="thread_1", run_id=run_id, call_id="call_1")
    return pb.CallToolRequest(tool=tool, arguments_json=json.dumps(arguments), idempotency_key=key, context=context)


async def result_of(stub: ToolServiceStub, request: pb.CallToolRequest) -> tuple[bool, str]:
    """Whether it went well, and what it says."""
    (response,) = [each async for each in stub.CallTool(request)]
    part = response.result.content[0]
    return response.result.outcome == pb.TOOL_OUTCOME_OK, part.text or part.json


async def test_two_tools_are_declared_that_may_be_called_again(world: World) -> None:
    async with tools(world) as stub:
        listed = (await stub.ListTools(pb.ListToolsRequest())).tools
        with pytest.raises(InvalidField, match="page_token"):
            await stub.ListTools(pb.ListToolsRequest(page_token="2"))
    assert [each.name for each in listed] == ["remember", "send_message"]
    assert all(each.idempotent and not each.read_only for each in listed)
    assert all(json.loads(each.parameters_json)["additionalProperties"] is False for each in listed)


async def test_what_an_agent_notes_is_remembered_with_the_place_of_its_call_once(world: World) -> None:
    world.runtime.add(state=RunState.RUNNING, kinds=CALLING)
    request = call("remember", text="Readers like dogs", tags=["dogs"])
    async with tools(world) as stub:
        first = await result_of(stub, request)
        again = await result_of(stub, request)
        other = await result_of(stub, call("remember", "run_1:call_2", text="And cats", kind="decision", platform="x"))
    assert first == again
    assert first[0]
    assert other[0]
    notes = {each.memory.text: each for each in (await world.known()).values()}
    assert set(notes) == {"Readers like dogs", "And cats"}
    note, decision = notes["Readers like dogs"], notes["And cats"]
    assert (note.memory.kind, note.memory.platform, note.memory.tags) == (
        MemoryKind.NOTE,
        "instagram",
        ("writer", "dogs"),
    )
    assert note.citation == Citation("thread_1", 7, 7, "run_1")
    assert note.memory.memory_id in first[1]
    assert (decision.memory.kind, decision.memory.platform) == (MemoryKind.DECISION, "x")


async def test_a_note_that_was_forgotten_is_not_noted_again_by_a_repeated_call(world: World) -> None:
    world.runtime.add(state=RunState.RUNNING, kinds=CALLING)
    async with tools(world) as stub:
        await result_of(stub, call("remember", text="Readers like dogs"))
        (memory_id,) = await world.known()
        await world.campaigns.memories.forget(world.campaigns.key("ForgetMemory"), memory_id)
        assert (await result_of(stub, call("remember", text="Readers like dogs")))[0]
    assert await world.known() == {}


async def test_a_child_of_a_campaigns_run_notes_for_the_campaign_and_is_cited_itself(world: World) -> None:
    world.runtime.add()
    world.runtime.add("run_child", root_run_id="run_1", state=RunState.RUNNING, kinds=CALLING)
    async with tools(world) as stub:
        assert (await result_of(stub, call("remember", run_id="run_child", text="From below")))[0]
    (learned,) = (await world.known()).values()
    assert learned.citation == Citation("thread_child", 7, 7, "run_child")
    assert learned.memory.tags == ("writer",)


async def test_a_run_of_no_campaign_and_an_unknown_run_are_refused_in_words(world: World) -> None:
    world.runtime.add("run_9", state=RunState.RUNNING)
    async with tools(world) as stub:
        for run_id, reason in (("run_9", "INVALID_FIELD"), ("run_unknown", "RUN_NOT_FOUND")):
            ok, said = await result_of(stub, call("remember", run_id=run_id, text="x"))
            assert not ok
            assert json.loads(said)["error"] == reason


async def test_a_run_that_calls_before_its_start_is_on_record_is_waited_for(world: World) -> None:
    class Late:
        """A store that knows the turn's thread from the second look on."""

        looks = 0

        async def of_thread(self, tenant: str, thread_id: str) -> tuple[Cycle, ...]:
            self.looks += 1
            return () if self.looks == 1 else await world.campaigns.store.of_thread(tenant, thread_id)

        async def now(self) -> Micros:
            return NOW

    world.runtime.add(state=RunState.RUNNING, kinds=CALLING)
    async with tools(world, cast(CampaignStore, Late())) as stub:
        assert (await result_of(stub, call("remember", text="Early")))[0]
    assert len(await world.known()) == 1


async def test_a_turn_is_found_by_its_run_where_two_share_a_thread(world: World) -> None:
    world.runtime.add("run_2", thread_id="thread_1", state=RunState.RUNNING, kinds=CALLING)
    both = replace(world.cycle, turns=(turn(), turn("artist", "run_2", "thread_1")))
    assert await world.campaigns.store.save(world.cycle, both) is not None
    async with tools(world) as stub:
        await result_of(stub, call("remember", run_id="run_2", text="By the artist"))
    (learned,) = (await world.known()).values()
    assert learned.memory.tags == ("artist",)


async def test_a_message_reaches_the_role_it_is_for_once(world: World) -> None:
    world.runtime.add(state=RunState.RUNNING)
    asset = {"asset_id": "asset_7", "media_type": "image/png", "name": "cup"}
    request = call("send_message", text="The cup is there", kind="delivered", receiver_role="artist", asset=asset)
    async with tools(world) as stub:
        first = await result_of(stub, request)
        assert await result_of(stub, request) == first
    assert first[0]
    (told,) = await world.told()
    assert told.message_id in first[1]
    assert (told.kind, told.sender_role, told.receiver_role) == (PeerMessageKind.DELIVERED, "writer", "artist")
    assert (told.text, told.asset) == ("The cup is there", AssetReference("asset_7", "image/png", "cup"))
    assert told.thread_id == "thread_1", "it goes with that thread"
    assert messages_for((told,), "artist") == (told,)
    assert messages_for((told,), "editor") == ()


async def test_a_message_to_all_is_for_everybody_but_its_sender(world: World) -> None:
    world.runtime.add(state=RunState.RUNNING)
    async with tools(world) as stub:
        assert (await result_of(stub, call("send_message", text="Spring is over")))[0]
    told = await world.told()
    assert (told[0].kind, told[0].receiver_role) == (PeerMessageKind.NOTICE, "")
    assert messages_for(told, "artist") == told
    assert messages_for(told, "writer") == ()


@pytest.mark.parametrize("receiver", ["nobody", "writer"])
async def test_a_message_to_an_unknown_role_or_to_oneself_is_refused_with_those_there_are(
    world: World, receiver: str
) -> None:
    world.runtime.add(state=RunState.RUNNING)
    async with tools(world) as stub:
        ok, said = await result_of(stub, call("send_message", text="x", receiver_role=receiver))
    assert not ok
    assert "one of artist" in json.loads(said)["message"]
    assert await world.told() == ()


async def test_a_message_in_a_campaign_that_is_gone_is_refused(world: World) -> None:
    class Gone:
        async def of_thread(self, tenant: str, thread_id: str) -> tuple[Cycle, ...]:
            return (world.cycle,)

        async def campaign(self, tenant: str, campaign_id: str) -> None:
            return None

    world.runtime.add(state=RunState.RUNNING)
    async with tools(world, cast(CampaignStore, Gone())) as stub:
        ok, said = await result_of(stub, call("send_message", text="x"))
    assert not ok
    assert json.loads(said)["error"] == CampaignNotFound.reason


async def test_a_dry_run_says_what_would_happen_and_writes_nothing(world: World) -> None:
    world.runtime.add(state=RunState.RUNNING, kinds=CALLING)
    async with tools(world) as stub:
        for request in (call("remember", text="x"), call("send_message", text="x")):
            request.dry_run = True
            ok, said = await result_of(stub, request)
            assert ok
            assert "would be" in said
    assert await world.known() == {}
    assert await world.told() == ()


@pytest.mark.parametrize(
    ("tool", "arguments", "field"),
    [
        ("remember", {}, "text"),
        ("remember", {"text": " "}, "text"),
        ("remember", {"text": "x" * 2_001}, "text"),
        ("remember", {"text": "x", "kind": "winner"}, "kind"),
        ("remember", {"text": "x", "tags": ["t"] * 9}, "tags"),
        ("remember", {"text": "x", "importance": 1}, "importance"),
        ("send_message", {"text": "x", "kind": "shout"}, "kind"),
        ("send_message", {"text": "x", "asset": {"asset_id": "a/b"}}, "asset.asset_id"),
        ("forget", {"text": "x"}, "tool"),
    ],
)
async def test_bad_arguments_are_refused_by_field(
    world: World, tool: str, arguments: dict[str, Any], field: str
) -> None:
    world.runtime.add(state=RunState.RUNNING, kinds=CALLING)
    async with tools(world) as stub:
        ok, said = await result_of(stub, call(tool, **arguments))
    assert not ok
    assert f"{field}:" in json.loads(said)["message"]
    assert await world.known() == {}


async def test_a_store_in_trouble_is_no_answer_so_that_the_runtime_calls_again(world: World) -> None:
    class Broken:
        async def of_thread(self, tenant: str, thread_id: str) -> tuple[Cycle, ...]:
            raise StoreUnavailable("disk full")

    world.runtime.add(state=RunState.RUNNING)
    async with tools(world, cast(CampaignStore, Broken())) as stub:
        with pytest.raises(StoreUnavailable):
            await result_of(stub, call("remember", text="x"))


@pytest.mark.parametrize("missing", ["tenant", "principal", "run_id"])
async def test_a_call_that_does_not_say_whose_it_is_is_refused(world: World, missing: str) -> None:
    request = call("remember", text="x")
    request.context.ClearField(missing)  # pyright: ignore[reportArgumentType]
    async with tools(world) as stub:
        with pytest.raises(InvalidField, match=f"context.{missing}"):
            await result_of(stub, request)


async def test_only_who_may_act_for_others_calls_tools(world: World) -> None:
    nobody = Identity(TenantId("acme"), PrincipalId("eve"), frozenset())
    async with tools(world, identity=nobody) as stub:
        with pytest.raises(ScopeMissing):
            await result_of(stub, call("remember", text="x"))
