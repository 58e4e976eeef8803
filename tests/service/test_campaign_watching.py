"""Watching a campaign at one replica while another changes it: told by NATS, and found without it."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from heddle.campaign.v1alpha1 import campaign_service_pb2 as pb
from heddle.campaign.v1alpha1.campaign_pb2 import CampaignState
from heddle_bus import subjects
from heddle_bus.port import Bus, Message
from heddle_bus.server import NatsServer
from heddle_campaign.facade.reading import Reading
from heddle_core.errors import Draining
from heddle_grpc.drain import Drain
from tests.kit.campaign_stores import ACME, ENGINES
from tests.kit.nats import jetstream_bus, nats_server
from tests.kit.postgres import shared_server
from tests.kit.running_campaigns import Studio, studio
from tests.kit.tasks import under_way

NEVER = timedelta(hours=1)
OFTEN = timedelta(seconds=1)


@asynccontextmanager
async def pair(folder: Path, sweep_every: timedelta) -> AsyncGenerator[tuple[Studio, Studio, NatsServer]]:
    """Two replicas on one PostgreSQL, both of which are connected to one NATS."""
    server = shared_server()
    name = await server.create()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.drop, name)
        nats = await stack.enter_async_context(nats_server(folder / "nats"))
        given: dict[str, Any] = {
            "database": server.url(name),
            "nats_endpoint": nats.endpoint_file,
            "sweep_every": sweep_every,
        }
        one, two = [await stack.enter_async_context(studio(folder / str(number), **given)) for number in range(2)]
        async with jetstream_bus(nats) as bus:
            for each in (one, two):
                await connected(each, bus)
        yield one, two, nats


async def connected(replica: Studio, bus: Bus) -> None:
    """Once a replica's changes come through the bus: it rings and hears by one connection."""
    async with asyncio.timeout(30), await bus.subscribe(subjects.control("changed", "campaign")) as bells:
        while True:
            made = await replica.create()
            with suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    async for each in bells:
                        if isinstance(each, Message) and made.campaign_id.encode() in each.payload:
                            return


async def test_a_watcher_is_told_at_once_what_another_replica_changes(tmp_path: Path) -> None:
    async with pair(tmp_path, NEVER) as (one, two, _):
        made = await one.create()
        watched = two.campaigns.WatchCampaign(pb.WatchCampaignRequest(campaign_id=made.campaign_id))
        async with asyncio.timeout(30):
            assert (await anext(aiter(watched))).campaign == made
            await one.activate(made.campaign_id)
            assert (await anext(aiter(watched))).campaign.state == CampaignState.CAMPAIGN_STATE_ACTIVE
            await one.trigger(made.campaign_id)
            assert len((await anext(aiter(watched))).open_cycles) == 1


async def test_a_ring_that_is_lost_is_made_good_by_looking(tmp_path: Path) -> None:
    async with pair(tmp_path, OFTEN) as (one, two, nats):
        made = await one.create()
        watched = two.campaigns.WatchCampaign(pb.WatchCampaignRequest(campaign_id=made.campaign_id))
        async with asyncio.timeout(30):
            assert (await anext(aiter(watched))).campaign == made
            await nats.stop()
            await one.activate(made.campaign_id)
            assert (await anext(aiter(watched))).campaign.state == CampaignState.CAMPAIGN_STATE_ACTIVE


async def test_a_watcher_in_the_same_process_needs_no_look(tmp_path: Path) -> None:
    async with studio(tmp_path, sweep_every=NEVER) as only:
        made = await only.create()
        watched = only.campaigns.WatchCampaign(pb.WatchCampaignRequest(campaign_id=made.campaign_id))
        async with asyncio.timeout(30):
            assert (await anext(aiter(watched))).campaign == made
            await only.activate(made.campaign_id)
            assert (await anext(aiter(watched))).campaign.state == CampaignState.CAMPAIGN_STATE_ACTIVE


async def test_a_watcher_hears_at_once_that_its_server_goes_away(tmp_path: Path) -> None:
    async with ENGINES["sqlite"](tmp_path) as world:
        await world.create()
        drain = Drain()
        frames = Reading(world.store, world.memories, world.changes, look_every=NEVER).watch(ACME, "c1", drain)
        async with aclosing(frames), asyncio.timeout(30):
            await anext(frames)
            waiting = await under_way(anext(frames))
            drain.begin()
            with pytest.raises(Draining):
                await waiting
