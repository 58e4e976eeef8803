"""Every RPC that is served, given thousands of requests that nobody should send.

HEDDLE_BAD_INPUT_SEED replays a run; HEDDLE_BAD_INPUT_CASES says how many requests each RPC gets.
"""

import json
import os
import secrets
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from heddle.runtime.v1.agent_runtime_pb2 import StartTurnRequest
from heddle.runtime.v1.run_pb2 import RunState
from heddle.runtime.v1.turn_pb2 import ConflictPolicy
from heddle_client.stubs import RuntimeStubs
from heddle_grpc.api_keys import mint
from tests.kit import tool_servers
from tests.kit.bad_input_batches import Sender, send_all
from tests.kit.bad_input_cases import Cases
from tests.kit.bad_input_contract import id_fields, served_rpcs
from tests.kit.bad_input_foreign_ids import difference
from tests.kit.bad_input_world import LivingWorld
from tests.kit.forked_runtime import ServerProcess, Zygote
from tests.kit.property_scenario import scenario, turn
from tests.kit.tool_servers import ToolServer, read_only, result, says

SEED = int(os.environ.get("HEDDLE_BAD_INPUT_SEED") or secrets.randbits(32))
CASES = int(os.environ.get("HEDDLE_BAD_INPUT_CASES", "500"))

SCOPES = ("runtime.run", "runtime.read", "runtime.manage", "act_as")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bad-input")


@pytest.fixture(scope="module")
def zygote() -> Iterator[Zygote]:
    made = Zygote()
    yield made
    made.close()


class Served:
    """A server of two tenants, and a caller from each."""

    def __init__(self, server: ServerProcess, channel: grpc.aio.Channel, tokens: list[str], tools: str) -> None:
        self.server = server
        self.tools = tools
        """Address of a tool provider."""
        self.channel = channel
        self.own, self.other = (Sender(channel, (("authorization", f"Bearer {token}"),)) for token in tokens)

    async def world(self, sender: Sender, name: str) -> LivingWorld:
        return await LivingWorld(self.channel, sender.metadata, name, self.tools).prepare()

    async def check_health(self) -> None:
        """It serves, and a good turn ends well."""
        asked = health_pb2.HealthCheckRequest()
        stub: Any = health_pb2_grpc.HealthStub(self.channel)
        health = await stub.Check(asked, timeout=10)
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        good = turn("at last", "say", ConflictPolicy.CONFLICT_POLICY_ENQUEUE)
        good.ClearField("agent")
        request = StartTurnRequest(request_id=f"good-{secrets.token_hex(4)}", turn=good, wait_seconds=20)
        runtime = RuntimeStubs.on(self.channel).agent_runtime
        told = await runtime.StartTurn(request, metadata=self.own.metadata, timeout=30)
        assert told.run.state == RunState.RUN_STATE_COMPLETED, f"{told}"

    def check_log(self) -> None:
        """Nothing went wrong inside that a client was not told of."""
        lines = [json.loads(line) for line in self.server.told().splitlines() if line.startswith("{")]
        bad = [line for line in lines if line.get("level", "").lower() in ("error", "critical")]
        assert not bad, f"{len(bad)} errors in the server's log, as {json.dumps(bad[0])[:3000]}"
        assert "Traceback" not in self.server.told()


@asynccontextmanager
async def serving(zygote: Zygote, folder: Path) -> AsyncGenerator[Served]:
    """A server with API keys for two tenants."""
    file, keys = folder / "everything.yaml", folder / "keys.json"
    minted = [mint(tenant, "ann", SCOPES) for tenant in ("acme", "globex")]
    tools = ToolServer()
    tools.offer(read_only("look"), says(result("a window")))
    options = (("grpc.max_send_message_length", -1), ("grpc.enable_retries", 0))
    async with tool_servers.serving(tools):
        settings = {
            "MODEL": f"scripted:{file}",
            "IDENTITY__API_KEYS_FILE": str(keys),
            "TURNS__TURNS_PER_MINUTE": "0",
            "TOOLS__PROVIDER_TARGETS": json.dumps([tools.address]),
            "LOG_LEVEL": "WARNING",
        }
        server = ServerProcess(zygote, folder, settings)
        file.write_text(scenario())
        keys.write_text(json.dumps([record.model_dump(mode="json") for _, record in minted]))
        await server.start()
        try:
            async with grpc.aio.insecure_channel(server.address, options=options) as channel:
                yield Served(server, channel, [token for token, _ in minted], tools.address)
        finally:
            server.kill()


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_no_request_whatever_gets_anything_but_an_answer_or_a_refusal_that_helps(
    zygote: Zygote, folder: Path
) -> None:
    print(f"HEDDLE_BAD_INPUT_SEED={SEED}, {CASES} cases an RPC")
    async with serving(zygote, folder / "cases") as served:
        rpcs = served_rpcs(served.server.address)
        assert any(rpc.name == "StartTurn" for rpc in rpcs)
        foreign = await served.world(served.other, "foreign")
        tallies = await send_all(rpcs, CASES, SEED, served.own, foreign, served.world)
        for tally in tallies:
            print(tally)
        faults = [fault for tally in tallies for fault in tally.faults]
        assert served.server.alive, f"the server has died: {served.server.told()[-3000:]}"
        assert not faults, f"seed {SEED}, {len(faults)} faults:\n" + "\n".join(faults)
        await served.check_health()
        served.check_log()
        for tally in tallies:
            assert sum(tally.answers.values()) == CASES, f"{tally.rpc.name}: {tally.answers}"


@pytest.mark.slow
async def test_the_id_of_another_tenant_and_an_unknown_one_are_refused_with_the_same_bytes(
    zygote: Zygote, folder: Path
) -> None:
    async with serving(zygote, folder / "foreign") as served:
        foreign = await served.world(served.other, "theirs")
        for name in ("others", "aliens", "neighbours"):
            for kind, ids in (await served.world(served.other, name)).ids.items():
                foreign.ids[kind] = [*dict.fromkeys((*foreign.ids[kind], *ids))]
        own = await served.world(served.own, "own")
        wrong: list[str] = []
        compared = 0
        for rpc in served_rpcs(served.server.address):
            cases = Cases(rpc, Random(f"{SEED} {rpc.path}"), own, foreign)
            for path in id_fields(rpc.descriptor):
                for theirs in _foreign_ids(path[-1], own, foreign):
                    wrong += await difference(served.own, rpc, cases.good(), path, theirs)
                    compared += 1
        assert not wrong, f"seed {SEED}:\n" + "\n".join(wrong)
        assert compared > 50


def _foreign_ids(field: str, own: LivingWorld, foreign: LivingWorld) -> list[str]:
    """Ids that only the other tenant has; each is used once, because a trial may make something of that id here."""
    kinds = [kind for kind in foreign.ids if kind.endswith("_id") and field.removesuffix("s").endswith(kind)]
    found: list[str] = []
    for kind in kinds:
        left = [each for each in foreign.ids[kind] if each not in own.ids[kind]]
        found += left[:1]
        foreign.ids[kind] = left[1:] or left
    return found
