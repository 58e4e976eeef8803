"""ToolProviderService over a real store: a deployment's providers, a tenant's own, and the tools of both."""

from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from heddle.runtime.v1 import tool_provider_service_pb2 as pb
from heddle.runtime.v1.agent_pb2 import ToolProvider
from heddle_core.errors import (
    AlreadyExists,
    CannotServe,
    EtagMismatch,
    IllegalTransition,
    InvalidField,
    RequestIdReused,
)
from heddle_core.ids import TenantId
from heddle_core.runtime_errors import ToolProviderNotFound
from heddle_runtime.tools.port import ToolFault, ToolFaultKind, ToolSpec
from heddle_runtime.tools.selection import Wishes
from tests.kit.runtime_services import ACME, Office, new_id, serving

pytestmark = pytest.mark.timeout(60)


class Shelf:
    """A provider whose tools a test changes."""

    confirms_stop = True

    def __init__(self, provider_id: str, *names: str) -> None:
        self.provider_id = provider_id
        self.names = list(names)
        self.words = "Does it."
        self.down = False
        self.closed = False

    async def list_tools(self) -> tuple[ToolSpec, ...]:
        if self.down:
            raise ToolFault(ToolFaultKind.NOT_SENT, "it is down: start it")
        return tuple(ToolSpec(self.provider_id, name, self.words, category="test") for name in self.names)

    def call(self, invocation: Any) -> Any:
        raise AssertionError("no test here calls a tool")

    async def close(self) -> None:
        self.closed = True


class Street:
    """Where targets lead: a house by its address."""

    def __init__(self) -> None:
        self.tools: dict[str, list[str]] = {"house:1": ["dig", "plant"], "house:2": ["cook"]}
        self.opened: list[Shelf] = []

    def connect(self, provider_id: str, target: str) -> Shelf:
        if target not in self.tools:
            raise CannotServe(f"channel to {target}", "there is no such house", "name another")
        shelf = Shelf(provider_id)
        shelf.names = self.tools[target]
        self.opened.append(shelf)
        return shelf


@pytest.fixture
def street() -> Street:
    return Street()


@pytest.fixture
def shared() -> Shelf:
    return Shelf("builtin", "ask", "look")


@pytest_asyncio.fixture
async def office(tmp_path: Path, street: Street, shared: Shelf) -> AsyncGenerator[Office]:
    async with serving(tmp_path, shared=(shared,), connect=street.connect) as running:
        yield running


async def create(
    office: Office, provider_id: str, target: str, request_id: str = "", tools: tuple[str, ...] = ()
) -> Any:
    provider = ToolProvider(provider_id=provider_id, grpc_target=target, allowed_tools=tools)
    request = pb.CreateToolProviderRequest(request_id=request_id or new_id(), provider=provider)
    return (await office.stubs.tool_providers.CreateToolProvider(request)).provider


async def update(office: Office, provider_id: str, *paths: str, **fields: Any) -> Any:
    rest = {name: fields.pop(name) for name in ("etag", "validate_only", "request_id") if name in fields}
    rest.setdefault("request_id", new_id())
    provider = ToolProvider(provider_id=provider_id, **fields)
    request = pb.UpdateToolProviderRequest(provider=provider, **rest)
    request.update_mask.paths.extend(paths)
    return (await office.stubs.tool_providers.UpdateToolProvider(request)).provider


async def tools(office: Office, reach: Callable[[], Any] | None = None, **fields: Any) -> list[str]:
    found: list[str] = []
    request = pb.ListToolsRequest(page_size=2, **fields)
    while True:
        page = await (reach() if reach else office.stubs).tool_providers.ListTools(request)
        found += [f"{each.provider_id}/{each.tool.name}" for each in page.tools]
        assert all(len(each.schema_digest) == 64 for each in page.tools)
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def test_a_tenants_provider_offers_its_tools_to_that_tenant_alone(office: Office) -> None:
    made = await create(office, "garden", "house:1")
    assert (made.available, made.etag, made.grpc_target) == (True, "1", "house:1")
    assert made.HasField("refresh_time")
    assert await tools(office) == ["builtin/ask", "builtin/look", "garden/dig", "garden/plant"]
    assert await tools(office, provider_id="garden") == ["garden/dig", "garden/plant"]
    assert await tools(office, category="other") == []
    assert await tools(office, lambda: office.reach("globex/bob")) == ["builtin/ask", "builtin/look"]
    page = await office.stubs.tool_providers.ListToolProviders(pb.ListToolProvidersRequest(page_size=1))
    assert ([each.provider_id for each in page.providers], page.providers[0].built_in) == (["builtin"], True)
    with pytest.raises(ToolProviderNotFound):
        await tools(office, provider_id="ghost")
    selection = await office.providers.select(ACME, Wishes(agent=("garden/*",)))
    assert list(selection.by_name) == ["dig", "plant"]
    assert office.providers.provider(ACME, "garden") is not None
    assert office.providers.provider(TenantId("globex"), "garden") is None


async def test_a_provider_is_registered_once_and_its_id_is_not_the_deployments(office: Office) -> None:
    first = await create(office, "garden", "house:1", request_id="r1")
    assert await create(office, "garden", "house:1", request_id="r1") == first
    with pytest.raises(RequestIdReused):
        await create(office, "garden", "house:2", request_id="r1")
    with pytest.raises(AlreadyExists):
        await create(office, "garden", "house:2")
    with pytest.raises(AlreadyExists):
        await create(office, "builtin", "house:2")
    for target, field in (("nowhere:1", "grpc_target"), ("", "grpc_target")):
        with pytest.raises(InvalidField, match=field):
            await create(office, "kitchen", target)
    with pytest.raises(InvalidField, match="allowed_tools"):
        await create(office, "kitchen", "house:2", tools=("not a name",))


async def test_an_update_moves_a_provider_and_loads_its_tools_again(office: Office, street: Street) -> None:
    made = await create(office, "garden", "house:1")
    would = await update(office, "garden", "grpc_target", grpc_target="house:2", validate_only=True)
    assert would.grpc_target == "house:2"
    assert "garden/dig" in await tools(office)
    moved = await update(office, "garden", "grpc_target", grpc_target="house:2", etag=made.etag)
    assert (moved.grpc_target, moved.etag) == ("house:2", "2")
    assert await tools(office, provider_id="garden") == ["garden/cook"]
    with pytest.raises(EtagMismatch):
        await update(office, "garden", "grpc_target", grpc_target="house:1", etag=made.etag)
    with pytest.raises(IllegalTransition, match="another id"):
        await update(office, "builtin", "grpc_target", grpc_target="house:1")
    with pytest.raises(ToolProviderNotFound):
        await update(office, "ghost", "grpc_target", grpc_target="house:1")
    narrowed = await update(office, "garden", "allowed_tools", allowed_tools=["bake"])
    assert (narrowed.available, "bake" in narrowed.problem) == (False, True)
    # A call that is under way may still be heard out on the old channel.
    tried, used = street.opened[:2]
    assert (tried.closed, used.closed) == (True, False)


async def test_a_refresh_says_what_changed(office: Office, shared: Shelf) -> None:
    await tools(office)
    shared.names, shared.words = ["ask", "listen"], "Does it differently."
    refresh = pb.RefreshToolProviderRequest(request_id=new_id(), provider_id="builtin")
    told = await office.stubs.tool_providers.RefreshToolProvider(refresh)
    assert (list(told.added), list(told.removed), list(told.changed)) == (["listen"], ["look"], ["ask"])
    shared.down = True
    told = await office.stubs.tool_providers.RefreshToolProvider(refresh)
    assert (told.provider.available, told.provider.problem) == (False, "it is down: start it")
    assert await tools(office) == ["builtin/ask", "builtin/listen"]


async def test_a_removed_provider_takes_its_tools_with_it(office: Office) -> None:
    await create(office, "garden", "house:1")
    request = pb.DeleteToolProviderRequest(request_id="d", provider_id="garden")
    await office.stubs.tool_providers.DeleteToolProvider(request)
    await office.stubs.tool_providers.DeleteToolProvider(request)
    assert await tools(office) == ["builtin/ask", "builtin/look"]
    with pytest.raises(ToolProviderNotFound):
        await office.stubs.tool_providers.GetToolProvider(pb.GetToolProviderRequest(provider_id="garden"))
    with pytest.raises(ToolProviderNotFound):
        await office.stubs.tool_providers.DeleteToolProvider(
            pb.DeleteToolProviderRequest(request_id="e", provider_id="garden")
        )
    with pytest.raises(IllegalTransition):
        await office.stubs.tool_providers.DeleteToolProvider(
            pb.DeleteToolProviderRequest(request_id="f", provider_id="builtin")
        )


async def test_a_provider_that_may_not_be_reached_any_more_does_not_hold_up_the_others(
    tmp_path: Path, street: Street, shared: Shelf
) -> None:
    async with serving(tmp_path, connect=street.connect) as office:
        await create(office, "garden", "house:1")
        await create(office, "kitchen", "house:2")
    del street.tools["house:1"]
    async with serving(tmp_path, shared=(shared,), connect=street.connect) as office:
        assert await tools(office) == ["builtin/ask", "builtin/look", "kitchen/cook"]
        assert list((await office.providers.select(ACME, Wishes(agent=("kitchen/*",)))).by_name) == ["cook"]
        gone = await office.stubs.tool_providers.GetToolProvider(pb.GetToolProviderRequest(provider_id="garden"))
        assert not gone.provider.available
        assert "there is no such house" in gone.provider.problem
        await update(office, "garden", "grpc_target", grpc_target="house:2")
        assert await tools(office, provider_id="garden") == ["garden/cook"]
