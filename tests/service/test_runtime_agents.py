"""AgentService over a real store: shipped agents, a tenant's own in their place, versions, models and the server."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from heddle.runtime.v1 import agent_service_pb2 as pb
from heddle.runtime.v1.agent_pb2 import AgentSpec, ApprovalPolicy
from heddle_core.errors import AlreadyExists, EtagMismatch, IllegalTransition, InvalidField, RequestIdReused
from heddle_core.ids import TenantId
from heddle_core.runtime_errors import AgentNotFound, ModelNotFound
from heddle_runtime.runs.turn import AgentReference
from heddle_runtime.threads.settings import ThreadSettings
from heddle_runtime.threads.state import FOLD_VERSION
from tests.kit.runtime_services import ACME, Office, new_id, serving

pytestmark = pytest.mark.timeout(60)

SHIPPED = ["ads", "article", "general", "image", "orchestrator", "researcher", "short-form", "video", "writer"]
GLOBEX = TenantId("globex")


@pytest_asyncio.fixture
async def office(tmp_path: Path) -> AsyncGenerator[Office]:
    async with serving(tmp_path) as running:
        yield running


async def create(office: Office, agent_id: str, request_id: str = "", **spec: Any) -> Any:
    request = pb.CreateAgentRequest(request_id=request_id or new_id(), agent_id=agent_id, spec=AgentSpec(**spec))
    if not spec:
        request.spec.description = "Something."
    return (await office.stubs.agents.CreateAgent(request)).agent


async def update(office: Office, agent_id: str, *paths: str, request_id: str = "", **fields: Any) -> Any:
    spec = AgentSpec(**{name: value for name, value in fields.items() if name in AgentSpec.DESCRIPTOR.fields_by_name})
    rest = {name: value for name, value in fields.items() if name not in AgentSpec.DESCRIPTOR.fields_by_name}
    request = pb.UpdateAgentRequest(request_id=request_id or new_id(), agent_id=agent_id, spec=spec, **rest)
    request.update_mask.paths.extend(paths)
    return (await office.stubs.agents.UpdateAgent(request)).agent


async def get(office: Office, agent_id: str, version: int = 0) -> Any:
    return (await office.stubs.agents.GetAgent(pb.GetAgentRequest(agent_id=agent_id, version=version))).agent


async def archive(office: Office, agent_id: str) -> Any:
    request = pb.ArchiveAgentRequest(request_id=new_id(), agent_id=agent_id)
    return (await office.stubs.agents.ArchiveAgent(request)).agent


async def listed(office: Office, **fields: Any) -> list[str]:
    found: list[str] = []
    request = pb.ListAgentsRequest(**fields)
    while True:
        page = await office.stubs.agents.ListAgents(request)
        found += [f"{agent.agent_id}@{agent.version}" for agent in page.agents]
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def test_the_shipped_agents_are_there_for_every_tenant(office: Office) -> None:
    expected = [f"{agent_id}@1" for agent_id in SHIPPED]
    for size in (1, 4, 9, 50):
        assert await listed(office, page_size=size) == expected
    assert await listed(office, page_size=2, order_by="agent_id desc") == expected[::-1]
    general = await get(office, "general")
    assert (general.built_in, general.archived, general.HasField("create_time")) == (True, False, False)
    assert len(general.spec.instructions) > 300
    with pytest.raises(AgentNotFound):
        await get(office, "general", 2)
    with pytest.raises(AgentNotFound):
        await get(office, "nobody")


async def test_a_tenants_own_agent_stands_in_the_place_of_a_shipped_one(office: Office) -> None:
    own = await create(office, "general", instructions="Do it our way.", limits={"steps": 3})
    assert (own.version, own.built_in, own.etag) == (2, False, "1")
    await create(office, "zebra")
    expected = [f"{each}@{2 if each == 'general' else 1}" for each in [*SHIPPED, "zebra"]]
    for size in (1, 3, 50):
        assert await listed(office, page_size=size) == expected
        assert await listed(office, page_size=size, order_by="agent_id desc") == expected[::-1]
    assert (await get(office, "general", 1)).built_in
    assert (await office.agents.resolve(ACME)).spec.instructions == "Do it our way."
    assert (await office.agents.resolve(GLOBEX)).version == 1
    versions = await office.stubs.agents.ListAgentVersions(pb.ListAgentVersionsRequest(agent_id="general"))
    assert [agent.version for agent in versions.agents] == [2, 1]


async def test_an_update_makes_a_version_and_leaves_the_one_before_it(office: Office) -> None:
    first = await create(office, "mine", instructions="one", temperature=0.5, tools=["builtin/*"])
    would = await update(office, "mine", "instructions", instructions="two", validate_only=True)
    assert (would.version, would.spec.temperature) == (2, 0.5)
    assert (await get(office, "mine")).version == 1
    second = await update(office, "mine", "spec.instructions", request_id="u", instructions="two", etag=first.etag)
    assert (second.version, second.spec.tools, second.spec.instructions) == (2, ["builtin/*"], "two")
    repeated = await update(office, "mine", "spec.instructions", request_id="u", instructions="two", etag=first.etag)
    assert repeated == second
    with pytest.raises(EtagMismatch):
        await update(office, "mine", "instructions", instructions="three", etag=first.etag)
    with pytest.raises(RequestIdReused):
        await update(office, "mine", "instructions", request_id="u", instructions="three")
    assert (await get(office, "mine", 1)).spec.instructions == "one"
    cleared = await update(office, "mine", "*", description="bare")
    assert (cleared.version, cleared.spec) == (3, AgentSpec(description="bare"))
    request = pb.ListAgentVersionsRequest(agent_id="mine", page_size=2, order_by="version")
    page = await office.stubs.agents.ListAgentVersions(request)
    request.page_token = page.next_page_token
    rest = await office.stubs.agents.ListAgentVersions(request)
    assert [agent.version for agent in (*page.agents, *rest.agents)] == [1, 2, 3]
    assert not rest.next_page_token


async def test_an_agent_is_created_once_per_request_and_id(office: Office) -> None:
    first = await create(office, "mine", request_id="r1", instructions="one")
    assert await create(office, "mine", request_id="r1", instructions="one") == first
    with pytest.raises(AlreadyExists):
        await create(office, "mine", request_id="r2", instructions="one")
    with pytest.raises(RequestIdReused):
        await create(office, "mine", request_id="r1", instructions="two")
    theirs = office.reach("globex/bob").agents
    with pytest.raises(AgentNotFound):
        await theirs.GetAgent(pb.GetAgentRequest(agent_id="mine"))


async def test_a_shipped_agent_cannot_be_changed_and_says_what_to_do(office: Office) -> None:
    with pytest.raises(IllegalTransition, match="CreateAgent"):
        await update(office, "writer", "instructions", instructions="x")
    with pytest.raises(IllegalTransition, match="CreateAgent"):
        await archive(office, "writer")
    with pytest.raises(AgentNotFound):
        await archive(office, "nobody")


async def test_an_archived_agent_takes_no_turns_until_it_gets_a_new_version(office: Office) -> None:
    await create(office, "mine", instructions="one")
    assert (await office.agents.resolve(ACME, AgentReference("mine"))).version == 1
    archived = await archive(office, "mine")
    assert (archived.archived, archived.version) == (True, 1)
    assert (await archive(office, "mine")) == archived
    for reference in (AgentReference("mine"), AgentReference("mine", 1)):
        with pytest.raises(IllegalTransition, match="UpdateAgent"):
            await office.agents.resolve(ACME, reference)
    assert (await office.agents.spec(ACME, "mine", 1)).instructions == "one"
    assert "mine@1" not in await listed(office)
    assert "mine@1" in await listed(office, include_archived=True)
    assert (await update(office, "mine", "instructions", instructions="two")).archived is False
    assert (await office.agents.resolve(ACME, AgentReference("mine"))).version == 2
    assert (await office.agents.resolve(ACME, AgentReference("mine", 1))).spec.instructions == "one"


async def test_a_turn_is_answered_by_its_own_agent_then_the_threads_then_the_default(office: Office) -> None:
    settings = ThreadSettings(agent_id="writer")
    assert (await office.agents.resolve(ACME, AgentReference("ads"), settings)).agent_id == "ads"
    assert (await office.agents.resolve(ACME, None, settings)).agent_id == "writer"
    assert (await office.agents.resolve(ACME, None, ThreadSettings())).agent_id == "general"
    with pytest.raises(AgentNotFound):
        await office.agents.resolve(ACME, AgentReference("ads", 7))


async def test_a_spec_beyond_its_limits_is_refused_field_by_field(office: Office) -> None:
    for fields, named in (
        ({"instructions": "x" * 32_001}, "spec.instructions"),
        ({"display_name": "x" * 129}, "spec.display_name"),
        ({"tools": ["everything"]}, r"spec.tools\[0\]"),
        ({"temperature": 2.5}, "spec.temperature"),
        ({"history_window": 201}, "spec.history_window"),
        ({"limits": {"steps": -1}}, "spec.limits.steps"),
        ({"approval_policy": 9}, "spec.approval_policy"),
    ):
        with pytest.raises(InvalidField, match=named):
            await create(office, "mine", **fields)
    with pytest.raises(ModelNotFound):
        await create(office, "mine", model="nowhere:x")
    policy = ApprovalPolicy.APPROVAL_POLICY_ALWAYS
    assert (await create(office, "mine", approval_policy=policy)).spec.approval_policy == policy


async def test_models_are_listed_with_whether_they_can_be_used(office: Office) -> None:
    names: list[str] = []
    request = pb.ListModelsRequest(page_size=5)
    while True:
        page = await office.stubs.agents.ListModels(request)
        names += [model.model for model in page.models]
        for model in page.models:
            assert model.note
            if model.model == "scripted:echo":
                assert (model.available, model.is_default) == (True, True)
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert names == sorted(set(names))
    assert {"scripted:echo", "local:smollm2", "openai:gpt-5"} <= set(names)


async def test_the_server_says_what_it_is_and_who_asks(office: Office) -> None:
    told = (await office.stubs.agents.GetServerInfo(pb.GetServerInfoRequest())).server
    assert (told.tenant, told.principal, told.version) == ("acme", "ada", "0.1.0")
    assert {"runtime.read", "runtime.run", "runtime.manage"} <= set(told.scopes)
    assert (told.fold_version, told.worker_id, dict(told.defaults)) == (FOLD_VERSION, "wrk_test", {"agent": "general"})


async def test_labels_are_kept_at_each_version_and_changed_by_their_name(office: Office) -> None:
    first = await create(office, "mine", description="x", labels={"heddle.dev/managed-by": "studio", "b": "2"})
    assert dict(first.spec.labels) == {"heddle.dev/managed-by": "studio", "b": "2"}
    await update(office, "mine", "description", description="y")
    assert dict((await get(office, "mine")).spec.labels) == {"heddle.dev/managed-by": "studio", "b": "2"}
    await update(office, "mine", "labels", labels={"b": "3"})
    newest = await get(office, "mine")
    assert (dict(newest.spec.labels), newest.spec.description) == ({"b": "3"}, "y")
    assert (await get(office, "mine", 1)).spec == first.spec
    with pytest.raises(InvalidField):
        await update(office, "mine", "labels", labels={f"k{number}": "" for number in range(65)})


async def test_agents_are_found_by_all_their_labels_on_pages_of_any_size(office: Office) -> None:
    for number in range(7):
        await create(office, f"m{number}", labels={"set": "studio" if number % 3 else "other", "n": str(number % 2)})
    await create(office, "general", labels={"set": "studio", "n": "1"})
    for size in (1, 2, 50):
        assert await listed(office, page_size=size, labels={"set": "studio", "n": "1"}) == ["general@2", "m1@1", "m5@1"]
        assert await listed(office, page_size=size, labels={"set": "nobody's"}) == []
    await archive(office, "m1")
    assert await listed(office, labels={"set": "other"}) == ["m0@1", "m3@1", "m6@1"]
    assert await listed(office, labels={"set": "studio", "n": "1"}, include_archived=True) == [
        "general@2",
        "m1@1",
        "m5@1",
    ]


async def test_a_creation_that_is_only_checked_makes_nothing(office: Office) -> None:
    async def asked(agent_id: str, request_id: str = "", **spec: Any) -> Any:
        request = pb.CreateAgentRequest(request_id=request_id or new_id(), agent_id=agent_id, validate_only=True)
        request.spec.CopyFrom(AgentSpec(**spec))
        return (await office.stubs.agents.CreateAgent(request)).agent

    would = await asked("mine", "r1", description="x", labels={"a": "b"})
    assert (would.agent_id, would.version, dict(would.spec.labels)) == ("mine", 1, {"a": "b"})
    assert (await asked("general", description="x")).version == 2
    with pytest.raises(AgentNotFound):
        await get(office, "mine")
    with pytest.raises(InvalidField):
        await asked("mine", description="x" * 1_025)
    made = await create(office, "mine", request_id="r1", description="x")
    assert made.version == 1, "the check has not used up the request's id"
    with pytest.raises(AlreadyExists):
        await asked("mine", description="x")
