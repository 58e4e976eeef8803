"""A runtime knows its callers by API key, token or certificate, and takes nobody at their word beyond loopback."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from heddle.common.v1.content_pb2 import ContentPart
from heddle.runtime.v1.agent_runtime_pb2 import StartTurnRequest
from heddle.runtime.v1.agent_service_pb2 import GetServerInfoRequest, ServerInfo
from heddle.runtime.v1.run_pb2 import Run
from heddle.runtime.v1.run_service_pb2 import GetRunRequest
from heddle.runtime.v1.tool_provider_service_pb2 import ListToolsRequest
from heddle.runtime.v1.turn_pb2 import Turn
from heddle.spawn.v1alpha1.spawn_pb2 import SpawnSpec, SpawnState
from heddle.spawn.v1alpha1.spawn_service_pb2 import SpawnAgentRequest
from heddle.spawn.v1alpha1.spawn_service_pb2_grpc import SpawnServiceStub
from heddle_client.stubs import RuntimeStubs
from heddle_core.errors import (
    CannotServe,
    CredentialInvalid,
    CredentialMissing,
    InvalidField,
    ScopeMissing,
    ServiceUnreachable,
)
from heddle_core.ids import PrincipalId, TenantId
from heddle_core.runtime_errors import RunNotFound
from heddle_grpc.api_keys import mint
from heddle_grpc.channel import act_as, open_channel
from heddle_grpc.companions import OpenCompanion
from heddle_grpc.identity import Identity
from heddle_grpc.identity_settings import IdentitySettings, JwtSettings
from heddle_grpc.settings import ChannelSettings
from heddle_runtime.settings import LaneTimes, RuntimeSettings
from heddle_runtime.wiring.runtime import running_runtime
from heddle_spawn.settings import SpawnSettings
from heddle_spawn.wiring import spawn_companion
from tests.kit.credentials import ACT_AS, ISSUER, JWKS, READ, RUN, STRANGER, Authority, kept, listed, published, token

BOB = Identity(TenantId("acme"), PrincipalId("bob"))


class Caller:
    """One who calls, with one credential."""

    def __init__(self, stubs: RuntimeStubs) -> None:
        self.stubs = stubs

    async def start(self, speaking_for: Identity | None = None) -> Run:
        """Start a turn and read its run; both with the same credential."""
        turn = Turn(content=[ContentPart(text="hello")])
        request = StartTurnRequest(request_id=f"req_{uuid4().hex[:20]}", turn=turn, wait_seconds=20)
        metadata = act_as(speaking_for) if speaking_for else ()
        started = await self.stubs.agent_runtime.StartTurn(request, metadata=metadata)
        return await self.run(started.run.run_id, speaking_for)

    async def run(self, run_id: str, speaking_for: Identity | None = None) -> Run:
        metadata = act_as(speaking_for) if speaking_for else ()
        return (await self.stubs.runs.GetRun(GetRunRequest(run_id=run_id), metadata=metadata)).run

    async def info(self) -> ServerInfo:
        return (await self.stubs.agents.GetServerInfo(GetServerInfoRequest())).server


@asynccontextmanager
async def serving(folder: Path, **identity: Any) -> AsyncGenerator[str]:
    """A runtime that takes these identities, maybe with companions; its address."""
    companions: Sequence[OpenCompanion] = identity.pop("companions", ())
    tls = {name: identity.pop(name) for name in list(identity) if name.startswith("tls_")}
    settings = RuntimeSettings(
        data_dir=folder / "data",
        listen=identity.pop("listen", "127.0.0.1:0"),
        lanes=LaneTimes(drain_grace=timedelta(milliseconds=100)),
        identity=IdentitySettings.model_validate(identity),
        **tls,
    )
    async with running_runtime(settings, companions=companions) as runtime:
        yield runtime.address


@asynccontextmanager
async def calling(address: str, bearer: str | None = None, **tls: Any) -> AsyncGenerator[Caller]:
    settings = ChannelSettings.model_validate({"address": address, "attempts": 1, "tls": tls or None})
    channel = open_channel(settings, token=(lambda: bearer) if bearer else None)
    try:
        yield Caller(RuntimeStubs.on(channel))
    finally:
        await channel.close()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


async def test_an_api_key_names_its_caller_and_no_other_key_does(tmp_path: Path) -> None:
    key, record = mint("acme", "ada", [RUN, READ])
    foreign, foreign_record = mint("globex", "eve", [RUN, READ])
    async with serving(tmp_path, api_keys_file=kept(tmp_path, record, foreign_record)) as address:
        async with calling(address, key) as ada:
            run = await ada.start()
            assert (run.actor.principal, run.actor.acted_by) == ("ada", "")
            assert "identity.api_keys" in (await ada.info()).capabilities
            assert "identity.development" not in (await ada.info()).capabilities
        async with calling(address, foreign) as eve:
            with pytest.raises(RunNotFound):
                await eve.run(run.run_id)
        async with calling(address, key + "x") as forger:
            with pytest.raises(CredentialInvalid):
                await forger.start()
        async with calling(address) as nobody:
            with pytest.raises(CredentialMissing):
                await nobody.start()


async def test_services_beside_need_no_credential_of_callers_nor_the_ways_in_that_these_must_take(
    tmp_path: Path, authority: Authority
) -> None:
    key, record = mint("acme", "ada", [RUN, READ])
    beside = spawn_companion(SpawnSettings(data_dir=tmp_path / "data"))
    given: dict[str, Any] = {
        "listen": "0.0.0.0:0",
        "companions": (beside,),
        "api_keys_file": kept(tmp_path, record),
        **authority.server(),
    }
    async with serving(tmp_path, **given) as address:
        own = authority.client("ada.example.com")
        settings = {"address": address.replace("0.0.0.0", "localhost"), "attempts": 1, "tls": own}
        channel = open_channel(ChannelSettings.model_validate(settings), token=lambda: key)
        spec = SpawnSpec(spawn_key="k", agent_id="general", task=[ContentPart(text="hello")])
        request = SpawnAgentRequest(request_id="r", spec=spec, wait_seconds=20)
        made = (await SpawnServiceStub(channel).SpawnAgent(request)).spawn
        assert made.state == SpawnState.SPAWN_STATE_COMPLETED
        stubs = RuntimeStubs.on(channel)
        run = (await stubs.runs.GetRun(GetRunRequest(run_id=made.run_id))).run
        assert (run.actor.principal, run.actor.acted_by) == ("ada", "control/spawn")
        tools = (await stubs.tool_providers.ListTools(ListToolsRequest(provider_id="spawn"))).tools
        assert "spawn_agent" in [each.tool.name for each in tools]
        await channel.close()


async def test_a_token_names_its_caller_by_the_claims_that_are_set(tmp_path: Path) -> None:
    claims = {"tenant_claim": "org", "principal_claim": "email", "scope_claim": "roles"}
    given = {**ISSUER, **claims, "jwks_file": published(tmp_path)}
    named = {"org": "acme", "email": "ada@example.com", "roles": [RUN, READ], "tenant": "globex", "sub": "7"}
    async with serving(tmp_path, jwt=given) as address:
        async with calling(address, token(**named)) as ada:
            run = await ada.start()
            assert run.actor.principal == "ada@example.com"
            assert (await ada.info()).tenant == "acme"
        async with calling(address, token(**{**named, "roles": [READ]})) as reader:
            assert (await reader.run(run.run_id)).run_id == run.run_id
            with pytest.raises(ScopeMissing, match=RUN):
                await reader.start()
        for refused in (token(STRANGER, **named), token(**named, aud="another"), token(**named, exp=1), token()):
            async with calling(address, refused) as stranger:
                with pytest.raises(CredentialInvalid):
                    await stranger.start()


async def test_the_keys_of_an_issuer_are_read_from_its_address(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(JWKS), JWKS))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as issuer:
        url = f"http://127.0.0.1:{issuer.sockets[0].getsockname()[1]}/jwks"
        async with serving(tmp_path, jwt={**ISSUER, "jwks_url": url}) as address, calling(address, token()) as ada:
            assert (await ada.start()).actor.principal == "ada"
    with pytest.raises(CannotServe, match=r"jwks_url.*keys of https://issuer\.example cannot be read"):
        async with serving(tmp_path, jwt={**ISSUER, "jwks_url": url}):
            pass


async def test_a_certificate_names_its_caller_by_a_name_in_it(tmp_path: Path, authority: Authority) -> None:
    names = listed(tmp_path, "spawn.heddle.internal", RUN, READ, ACT_AS)
    async with serving(tmp_path, certificates_file=names, **authority.server()) as address:
        async with calling(address, **authority.client("spawn.heddle.internal")) as service:
            assert (await service.start()).actor.principal == "spawn"
            run = await service.start(BOB)
            assert (run.actor.principal, run.actor.acted_by) == ("bob", "ops/spawn")
            with pytest.raises(RunNotFound):
                await service.run(run.run_id)
        async with calling(address, **authority.client("somebody.else")) as unmapped:
            with pytest.raises(CredentialInvalid, match="names is mapped"):
                await unmapped.start()
        async with calling(address, ca=authority.roots) as bare:
            with pytest.raises(ServiceUnreachable):
                await bare.start()


async def test_every_kind_that_is_set_is_taken_and_speaks_for_others_only_with_the_scope(
    tmp_path: Path, authority: Authority
) -> None:
    service, record = mint("ops", "campaign", [RUN, READ, ACT_AS])
    identity = {
        "api_keys_file": kept(tmp_path, record),
        "jwt": {**ISSUER, "jwks_file": published(tmp_path)},
        "certificates_file": listed(tmp_path, "spawn.local", RUN),
    }
    async with serving(tmp_path, **identity, **authority.server()) as address:
        shown = authority.client("spawn.local")
        async with calling(address, service, **shown) as campaign:
            run = await campaign.start(BOB)
            assert (run.actor.principal, run.actor.acted_by) == ("bob", "ops/campaign")
            for kind in ("api_keys", "jwt", "certificates"):
                assert f"identity.{kind}" in (await campaign.info()).capabilities
            with pytest.raises(InvalidField, match="control"):
                await campaign.start(Identity(TenantId("control"), PrincipalId("ada")))
        async with calling(address, token(), **shown) as ada:
            assert (await ada.start()).actor.principal == "ada"
            with pytest.raises(ScopeMissing, match=ACT_AS):
                await ada.start(BOB)
        async with calling(address, **shown) as certified:
            with pytest.raises(ScopeMissing, match=ACT_AS):
                await certified.start(BOB)


async def test_the_development_identity_works_on_loopback_and_nowhere_else(tmp_path: Path) -> None:
    async with serving(tmp_path, tenant="acme", principal="ada") as address, calling(address) as ada:
        assert (await ada.start()).actor.principal == "ada"
        assert "identity.development" in (await ada.info()).capabilities
        assert (await ada.start(BOB)).actor.acted_by == "acme/ada"
        async with calling(address, token()) as signed:
            with pytest.raises(CredentialInvalid):
                await signed.start()
    settings = RuntimeSettings(data_dir=tmp_path / "data", listen="0.0.0.0:0", allow_plaintext=True)
    with pytest.raises(CannotServe, match="development identity"):
        async with running_runtime(settings):
            pass


async def test_a_token_of_the_reserved_tenant_is_refused(tmp_path: Path) -> None:
    given = JwtSettings.model_validate({**ISSUER, "jwks_file": published(tmp_path)}).model_dump()
    async with serving(tmp_path, jwt=given) as address, calling(address, token(tenant="control")) as caller:
        with pytest.raises(CredentialInvalid, match="control"):
            await caller.start()
