"""Every RPC of the services beside the runtime, given hundreds of requests that nobody should send.

HEDDLE_BAD_INPUT_SEED replays a run; HEDDLE_SERVICES_BAD_INPUT_CASES says how many requests each RPC gets.
"""

import asyncio
import json
import logging
import os
import secrets
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import grpc
import pytest

from heddle_campaign.settings import CampaignServiceSettings
from heddle_campaign.wiring import running_campaign
from heddle_grpc.api_keys import mint
from heddle_runtime.settings import RuntimeSettings, TurnRateSettings
from heddle_runtime.wiring.runtime import running_runtime
from heddle_spawn.settings import SpawnSettings
from heddle_spawn.wiring import running_spawn
from tests.kit.bad_input_batches import MakeWorld, Sender, send_all
from tests.kit.bad_input_cases import Cases
from tests.kit.bad_input_contract import Rpc, id_fields, served_rpcs
from tests.kit.bad_input_foreign_ids import difference
from tests.kit.bad_input_services import ServiceWorld
from tests.kit.bad_input_world import World
from tests.kit.property_scenario import scenario

SEED = int(os.environ.get("HEDDLE_BAD_INPUT_SEED") or secrets.randbits(32))
CASES = int(os.environ.get("HEDDLE_SERVICES_BAD_INPUT_CASES", "150"))

SCOPES = ("runtime.run", "runtime.read", "act_as")
AT_ONCE = 6


class Service:
    """A served service, and a caller from each of two tenants."""

    def __init__(self, channel: grpc.aio.Channel, rpcs: list[Rpc], tokens: list[str], make: MakeWorld) -> None:
        self.rpcs = rpcs
        self.make = make
        self.own, self.other = (Sender(channel, (("authorization", f"Bearer {token}"),)) for token in tokens)


async def campaign_world(sender: Sender, name: str) -> World:
    return await ServiceWorld(sender.channel, sender.metadata, name).with_campaigns()


async def spawn_world(sender: Sender, name: str) -> World:
    return await ServiceWorld(sender.channel, sender.metadata, name).with_spawns()


@asynccontextmanager
async def serving(folder: Path, kind: str) -> AsyncGenerator[Service]:
    """A runtime, and beside it one service with API keys for two tenants."""
    file, keys = folder / "everything.yaml", folder / "keys.json"
    minted = [mint(tenant, "ann", SCOPES) for tenant in ("acme", "globex")]
    file.write_text(scenario())
    keys.write_text(json.dumps([record.model_dump(mode="json") for _, record in minted]))
    async with AsyncExitStack() as stack:
        runtime = await stack.enter_async_context(
            running_runtime(
                RuntimeSettings(
                    data_dir=folder / "runtime",
                    listen="127.0.0.1:0",
                    model=f"scripted:{file}",
                    turns=TurnRateSettings(turns_per_minute=0),
                )
            )
        )
        given: dict[str, Any] = {
            "data_dir": folder / kind,
            "listen": "127.0.0.1:0",
            "runtime": {"address": runtime.address},
            "identity": {"api_keys_file": keys},
        }
        if kind == "campaign":
            address = (await stack.enter_async_context(running_campaign(CampaignServiceSettings(**given)))).address
        else:
            given["assets"] = dict.fromkeys(("image", "video", "audio", "text"), "general")
            address = (await stack.enter_async_context(running_spawn(SpawnSettings(**given)))).address
        options = (("grpc.max_send_message_length", -1), ("grpc.enable_retries", 0))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(address, options=options))
        served = await asyncio.to_thread(served_rpcs, address)
        # Tool calls are the runtime's to make, whose credential nobody acts for.
        rpcs = [each for each in served if not each.path.startswith("/heddle.tools.")]
        make = campaign_world if kind == "campaign" else spawn_world
        yield Service(channel, rpcs, [token for token, _ in minted], make)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("kind", "fewest"), [("campaign", 22), ("spawn", 8)])
async def test_no_request_to_a_service_gets_anything_but_an_answer_or_a_refusal_that_helps(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str, fewest: int
) -> None:
    print(f"HEDDLE_BAD_INPUT_SEED={SEED}, {CASES} cases an RPC")
    async with serving(tmp_path, kind) as served:
        assert len(served.rpcs) == fewest
        foreign = await served.make(served.other, "foreign")
        tallies = await send_all(served.rpcs, CASES, SEED, served.own, foreign, served.make, at_once=AT_ONCE)
        for tally in tallies:
            print(tally)
        faults = [fault for tally in tallies for fault in tally.faults]
        assert not faults, f"seed {SEED}, {len(faults)} faults:\n" + "\n".join(faults)
        for tally in tallies:
            assert sum(tally.answers.values()) == CASES, f"{tally.rpc.name}: {tally.answers}"
        assert sum("OK" in tally.answers for tally in tallies) > len(tallies) // 2
        await served.make(served.own.acting_as("last/ann"), "good")
    wrong = [each.getMessage() for each in caplog.records if each.levelno >= logging.ERROR]
    assert not wrong, f"seed {SEED}: {wrong[:3]}"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["campaign", "spawn"])
async def test_the_services_refuse_another_tenants_id_and_an_unknown_one_with_the_same_bytes(
    tmp_path: Path, kind: str
) -> None:
    async with serving(tmp_path, kind) as served:
        own, foreign = await served.make(served.own, "own"), await served.make(served.other, "theirs")
        wrong: list[str] = []
        compared = 0
        for rpc in served.rpcs:
            cases = Cases(rpc, Random(f"{SEED} {rpc.path}"), own, foreign)
            for path in id_fields(rpc.descriptor, depth=2):
                only_theirs = [each for each in foreign.ids.get(path[-1], ()) if each not in own.ids[path[-1]]]
                for theirs in only_theirs[:2]:
                    wrong += await difference(served.own, rpc, cases.good(), path, theirs)
                    compared += 1
        assert not wrong, f"seed {SEED}:\n" + "\n".join(wrong)
        assert compared >= 10
