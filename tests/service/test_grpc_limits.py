"""Overload and deadlines at a real server."""

import asyncio
from typing import Any

import grpc
import pytest

from heddle_core.errors import DeadlinePassed, Overloaded
from heddle_grpc import calls
from heddle_grpc.api_keys import ApiKeys, mint
from heddle_grpc.errors import from_rpc_error
from heddle_grpc.limits import Admission, CallLimits
from tests.kit.grpc_probe import Probe, Servicer, answer, ask, local, probing, probing_raw, reaching, serving


class Holding(Servicer):
    """Holds every unary call until told; counts those inside."""

    def __init__(self) -> None:
        self.inside = 0
        self.changed = asyncio.Event()
        self.go_on = asyncio.Event()
        self.deadlines: list[float | None] = []

    async def Ask(self, request: Any, context: Any) -> Any:
        self.inside += 1
        self.deadlines.append(calls.current().deadline)
        self.changed.set()
        try:
            await self.go_on.wait()
        finally:
            self.inside -= 1
            self.changed.set()
        return answer("done")

    async def until_inside(self, number: int) -> None:
        async with asyncio.timeout(5):
            while self.inside < number:
                self.changed.clear()
                await self.changed.wait()


async def test_calls_beyond_the_limit_are_refused_in_every_wave() -> None:
    servicer = Holding()
    async with probing(servicer, settings=local(calls={"unary": 5})) as probe:
        for _ in range(4):
            servicer.go_on.clear()
            taken = [asyncio.ensure_future(probe.ask(ask())) for _ in range(5)]
            await servicer.until_inside(5)
            refused = await asyncio.gather(*(probe.ask(ask()) for _ in range(20)), return_exceptions=True)
            assert [type(each) for each in refused] == [Overloaded] * 20
            servicer.go_on.set()
            assert [each.text for each in await asyncio.gather(*taken)] == ["done"] * 5


async def test_one_tenant_cannot_take_the_places_of_another() -> None:
    servicer = Holding()
    keys = {tenant: mint(tenant, "p") for tenant in ("a", "b")}
    authenticators = [ApiKeys(record for _, record in keys.values())]
    server = serving(servicer, settings=local(calls={"unary_per_tenant": 2}), authenticators=authenticators)
    async with (
        server.running(),
        reaching(server, token=lambda: keys["a"][0]) as of_a,
        reaching(server, token=lambda: keys["b"][0]) as of_b,
    ):
        a, b = Probe(of_a), Probe(of_b)
        taken = [asyncio.ensure_future(a.ask(ask())) for _ in range(2)]
        await servicer.until_inside(2)
        with pytest.raises(Overloaded, match="tenant a"):
            await a.ask(ask())
        taken.append(asyncio.ensure_future(b.ask(ask())))
        await servicer.until_inside(3)
        servicer.go_on.set()
        await asyncio.gather(*taken)


async def test_a_single_method_can_be_held_tighter() -> None:
    servicer = Holding()
    settings = local(calls={"methods": {"/heddle.kit.v1.Probe/Ask": 1}})
    async with probing(servicer, settings=settings) as probe:
        taken = asyncio.ensure_future(probe.ask(ask()))
        await servicer.until_inside(1)
        with pytest.raises(Overloaded, match="Probe/Ask"):
            await probe.ask(ask())
        servicer.go_on.set()
        await taken


async def test_a_unary_call_without_a_deadline_gets_the_servers() -> None:
    servicer = Holding()
    async with probing_raw(servicer, settings=local(calls={"unary_deadline": 0.2})) as probe:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await probe.ask(ask())
    assert isinstance(from_rpc_error(caught.value), DeadlinePassed)
    assert "/heddle.kit.v1.Probe/Ask" in str(caught.value.details())
    assert servicer.inside == 0
    assert servicer.deadlines[0] is not None


async def test_the_clients_own_deadline_ends_the_handler_too() -> None:
    servicer = Holding()
    async with probing(servicer) as probe:
        with pytest.raises(DeadlinePassed):
            await probe.ask(ask(), timeout=0.2)
        async with asyncio.timeout(5):
            while servicer.inside:
                servicer.changed.clear()
                await servicer.changed.wait()


async def test_a_channel_gives_unary_calls_a_deadline() -> None:
    servicer = Holding()
    server = serving(servicer)
    async with server.running(), reaching(server, unary_deadline=0.2) as channel:
        with pytest.raises(DeadlinePassed):
            await Probe(channel).ask(ask())


def test_a_refused_call_counts_in_no_lane() -> None:
    admission = Admission(CallLimits(unary=2, unary_per_tenant=1))
    (lane,) = admission.lanes("/s/M", streaming=False)
    lane.enter("a")
    with pytest.raises(Overloaded):
        lane.enter("a")
    lane.enter("b")
    with pytest.raises(Overloaded):
        lane.enter("c")
    lane.leave("a")
    lane.enter("c")
    assert lane.under_way == 2
