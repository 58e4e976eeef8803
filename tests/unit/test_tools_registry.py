"""Providers that are sound, down, lying or back again."""

import asyncio
from datetime import timedelta

import pytest

from heddle_core.clock import ManualClock
from heddle_core.errors import AlreadyExists, InvalidField
from heddle_core.runtime_errors import ToolProviderNotFound
from heddle_core.usage import MicroUsd
from heddle_runtime.tools.port import RiskClass, ToolFault, ToolFaultKind, ToolSpec
from heddle_runtime.tools.registry import Difference, Registry
from heddle_runtime.tools.schema import Schemas
from heddle_runtime.tools.selection import Wishes
from tests.kit.tool_servers import FakeProvider, spec_of

DOWN = ToolFault(ToolFaultKind.NOT_SENT, "provider kit does not answer: check its address and that it runs")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def registry(clock: ManualClock) -> Registry:
    return Registry(clock=clock, schemas=Schemas(clock))


async def test_tools_are_listed_by_provider_and_name(registry: Registry) -> None:
    registry.add(FakeProvider("web", [spec_of("search", "web", category="research"), spec_of("fetch", "web")]))
    registry.add(FakeProvider("shop", [spec_of("order", "shop")]))
    await registry.load()
    assert [spec.path for spec in registry.tools()] == ["shop/order", "web/fetch", "web/search"]
    assert [spec.path for spec in registry.tools(category="research")] == ["web/search"]
    assert [spec.path for spec in registry.tools(provider_id="shop")] == ["shop/order"]
    assert list(registry.select(Wishes(agent=["web/*"])).by_name) == ["fetch", "search"]


async def test_a_provider_that_is_down_stops_nobody_and_is_asked_again_with_back_off(
    registry: Registry, clock: ManualClock
) -> None:
    down = FakeProvider("kit", [spec_of()], listing_fault=DOWN)
    registry.add(down)
    registry.add(FakeProvider("web", [spec_of("search", "web")]))
    await registry.load()
    assert [spec.path for spec in registry.tools()] == ["web/search"]
    assert registry.enrolment("kit").problem == DOWN.message
    assert not registry.enrolment("kit").available

    for wait in (1, 2, 4, 8, 16, 32, 60, 60):
        listings = down.listings
        clock.advance(wait - 0.01)
        await registry.load()
        assert down.listings == listings
        clock.advance(0.01)
        await registry.load()
        assert down.listings == listings + 1

    down.listing_fault = None
    clock.advance(60)
    await registry.load()
    assert registry.enrolment("kit").available
    assert [spec.path for spec in registry.tools(provider_id="kit")] == ["kit/act"]


async def test_a_healthy_provider_is_not_asked_again(registry: Registry) -> None:
    provider = FakeProvider(specs=[spec_of()])
    registry.add(provider)
    await registry.load()
    await registry.load()
    assert provider.listings == 1


async def test_many_who_ask_at_once_cause_one_listing(registry: Registry) -> None:
    provider = FakeProvider(specs=[spec_of()])
    registry.add(provider)
    await asyncio.gather(*(registry.load() for _ in range(10)))
    assert provider.listings == 1


async def test_a_refresh_says_what_changed(registry: Registry) -> None:
    provider = FakeProvider(specs=[spec_of("same"), spec_of("old"), spec_of("other")])
    registry.add(provider)
    assert await registry.refresh("kit") == Difference(added=("old", "other", "same"))
    provider.specs = [spec_of("same"), spec_of("other", description="Now it deletes."), spec_of("new")]
    assert await registry.refresh("kit") == Difference(("new",), ("old",), ("other",))


async def test_a_provider_that_goes_down_keeps_its_tools_and_says_so(registry: Registry) -> None:
    provider = FakeProvider(specs=[spec_of()])
    registry.add(provider)
    await registry.load()
    provider.listing_fault = DOWN
    assert await registry.refresh("kit") == Difference()
    assert [spec.name for spec in registry.tools()] == ["act"]
    assert registry.enrolment("kit").problem


async def test_a_provider_that_breaks_is_marked_and_not_raised(registry: Registry) -> None:
    registry.add(FakeProvider(listing_fault=KeyError("x")))
    await registry.load()
    assert registry.enrolment("kit").problem == "listing its tools broke it (KeyError): mend the provider"


SOUND = spec_of("sound")


@pytest.mark.parametrize(
    ("specs", "words"),
    [
        ([SOUND, spec_of("twice"), spec_of("twice")], "it serves twice 2 times"),
        ([spec_of("a b")], "a name is 1 to 64 letters"),
        ([spec_of("x" * 65)], "a name is 1 to 64 letters"),
        ([spec_of(description=" ")], "lacks a description"),
        ([spec_of(description="x" * 5000)], "at most 4096 characters"),
        ([spec_of(parameters_json="{")], "must be JSON"),
        ([spec_of(parameters_json='{"type":"array"}')], "object"),
        ([spec_of(parameters_json='{"type":"object","$ref":"https://x.example/"}')], "nothing is ever fetched"),
        ([spec_of(deadline=timedelta(hours=2))], "between 1 s and 1 h"),
        ([spec_of(deadline=timedelta(0))], "between 1 s and 1 h"),
        ([spec_of(price=MicroUsd(-1))], "not negative"),
        ([spec_of(read_only=True, risk=RiskClass.SPEND)], "read-only and of risk SPEND"),
        ([spec_of("act", "someone_else")], "of provider someone_else"),
        ([spec_of(f"t{i}") for i in range(1001)], "at most 1000"),
        ([spec_of(f"bad {i}") for i in range(9)], "and 6 more"),
    ],
)
async def test_tools_that_are_not_sound_refuse_their_provider_and_no_other(
    registry: Registry, specs: list[ToolSpec], words: str
) -> None:
    registry.add(FakeProvider(specs=specs))
    registry.add(FakeProvider("web", [spec_of("search", "web")]))
    await registry.load()
    assert words in registry.enrolment("kit").problem
    assert [spec.path for spec in registry.tools()] == ["web/search"]


async def test_what_was_loaded_is_dropped_when_something_unsound_is_served(registry: Registry) -> None:
    provider = FakeProvider(specs=[spec_of()])
    registry.add(provider)
    await registry.load()
    provider.specs = [spec_of(), spec_of()]
    assert await registry.refresh("kit") == Difference(removed=("act",))
    assert registry.tools() == ()


async def test_only_what_was_declared_is_offered_and_all_of_it_must_be_served(registry: Registry) -> None:
    registry.add(FakeProvider("web", [spec_of("search", "web"), spec_of("fetch", "web")]), offered=["fetch"])
    registry.add(FakeProvider("shop", [spec_of("order", "shop")]), offered=["order", "refund"])
    await registry.load()
    assert [spec.path for spec in registry.tools()] == ["web/fetch"]
    assert "does not serve refund" in registry.enrolment("shop").problem


async def test_a_provider_removed_while_it_is_asked_stays_removed(registry: Registry) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    class Slow(FakeProvider):
        async def list_tools(self) -> tuple[ToolSpec, ...]:
            asked.set()
            await go_on.wait()
            return (spec_of(),)

    registry.add(Slow())
    loading = asyncio.ensure_future(registry.load())
    await asked.wait()
    registry.remove("kit")
    go_on.set()
    await loading
    assert registry.enrolments() == ()


async def test_ids_are_unique_and_of_the_alphabet(registry: Registry) -> None:
    registry.add(FakeProvider())
    with pytest.raises(AlreadyExists):
        registry.add(FakeProvider())
    with pytest.raises(InvalidField):
        registry.add(FakeProvider("a/b"))
    with pytest.raises(ToolProviderNotFound):
        await registry.refresh("absent")


async def test_closing_closes_every_provider(registry: Registry) -> None:
    providers = [FakeProvider("a"), FakeProvider("b")]
    for provider in providers:
        registry.add(provider)
    await registry.close()
    assert all(provider.closed for provider in providers)


def test_a_digest_tells_apart_what_runs_together() -> None:
    one = spec_of("ab", description="c")
    other = spec_of("a", description="bc")
    assert one.schema_digest != other.schema_digest
    assert spec_of(price=MicroUsd(1)).schema_digest == spec_of().schema_digest
    assert spec_of(read_only=True, risk=RiskClass.READ).repeatable
    assert spec_of(idempotent=True).repeatable
    assert not spec_of().repeatable
