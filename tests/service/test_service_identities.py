"""Services beside the runtime know callers by every kind of credential, and show the runtime what is theirs by now."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from heddle.campaign.v1alpha1 import campaign_service_pb2 as campaign_pb
from heddle.campaign.v1alpha1.campaign_service_pb2_grpc import CampaignServiceStub
from heddle.campaign.v1alpha1.cycle_pb2 import CycleState
from heddle.common.v1.content_pb2 import ContentPart
from heddle.runtime.v1.run_pb2 import Run
from heddle.runtime.v1.run_service_pb2 import GetRunRequest
from heddle.spawn.v1alpha1 import spawn_service_pb2 as spawn_pb
from heddle.spawn.v1alpha1.spawn_pb2 import Spawn, SpawnSpec, SpawnState
from heddle.spawn.v1alpha1.spawn_service_pb2_grpc import SpawnServiceStub
from heddle_campaign.settings import CampaignServiceSettings
from heddle_campaign.wiring import running_campaign
from heddle_client.stubs import RuntimeStubs
from heddle_core.companion_errors import CampaignNotFound, SpawnNotFound
from heddle_core.errors import (
    CannotServe,
    CredentialInvalid,
    CredentialMissing,
    ScopeMissing,
    ServiceCredentialRefused,
    ServiceUnreachable,
)
from heddle_core.faults import HeddleError, StatusCode
from heddle_core.values import value
from heddle_grpc.api_keys import mint
from heddle_grpc.channel import Channel, open_channel
from heddle_grpc.settings import ChannelSettings
from heddle_runtime.settings import LaneTimes, RuntimeSettings
from heddle_runtime.wiring.runtime import running_runtime
from heddle_spawn.settings import SpawnSettings
from heddle_spawn.wiring import running_spawn
from tests.kit.credentials import ACT_AS, ISSUER, READ, RUN, STRANGER, Authority, kept, listed, published, token
from tests.kit.log_capture import capture_logs
from tests.kit.running_campaigns import Calls, campaign
from tests.kit.running_runtime import new_id

pytestmark = pytest.mark.timeout(60)


@value
class Service:
    """A kind of service, and what callers do with it."""

    name: str
    running: Callable[[dict[str, Any]], Any]
    make: Callable[[Channel], Awaitable[str]]
    """Makes something, with the scope to run; its id."""
    read: Callable[[Channel, str], Awaitable[Any]]
    unknown: type[HeddleError]


async def make_spawn(channel: Channel) -> str:
    spec = SpawnSpec(spawn_key="k", agent_id="general", task=[ContentPart(text="hello")])
    request = spawn_pb.SpawnAgentRequest(request_id=new_id(), spec=spec)
    return (await SpawnServiceStub(channel).SpawnAgent(request)).spawn.spawn_id


async def read_spawn(channel: Channel, spawn_id: str) -> Any:
    return await SpawnServiceStub(channel).GetSpawn(spawn_pb.GetSpawnRequest(spawn_id=spawn_id))


async def make_campaign(channel: Channel) -> str:
    request = campaign_pb.CreateCampaignRequest(request_id=new_id(), campaign=campaign())
    return (await CampaignServiceStub(channel).CreateCampaign(request)).campaign.campaign_id


async def read_campaign(channel: Channel, campaign_id: str) -> Any:
    return await CampaignServiceStub(channel).GetCampaign(campaign_pb.GetCampaignRequest(campaign_id=campaign_id))


SERVICES = {
    "spawn": Service(
        "spawn", lambda given: running_spawn(SpawnSettings(**given)), make_spawn, read_spawn, SpawnNotFound
    ),
    "campaign": Service(
        "campaign",
        lambda given: running_campaign(CampaignServiceSettings(**given)),
        make_campaign,
        read_campaign,
        CampaignNotFound,
    ),
}


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> Service:
    return SERVICES[request.param]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@asynccontextmanager
async def runtime(folder: Path, **settings: Any) -> AsyncGenerator[str]:
    """The runtime's address."""
    given: dict[str, Any] = {"data_dir": folder / "runtime", "listen": "127.0.0.1:0", **settings}
    lanes = LaneTimes(drain_grace=timedelta(milliseconds=100))
    async with running_runtime(RuntimeSettings(lanes=lanes, **given)) as running:
        yield running.address


@asynccontextmanager
async def serving(service: Service, folder: Path, **settings: Any) -> AsyncGenerator[str]:
    """The service's address; its runtime, unless one is named, takes everybody at their word."""
    async with AsyncExitStack() as stack:
        way = settings.pop("runtime", None) or {"address": await stack.enter_async_context(runtime(folder))}
        given = {"data_dir": folder / service.name, "listen": "127.0.0.1:0", "runtime": way, **settings}
        yield (await stack.enter_async_context(service.running(given))).address


@asynccontextmanager
async def calling(address: str, bearer: str | None = None, **tls: Any) -> AsyncGenerator[Channel]:
    settings = ChannelSettings.model_validate({"address": address, "attempts": 1, "tls": tls or None})
    channel = open_channel(settings, token=(lambda: bearer) if bearer else None)
    try:
        yield channel
    finally:
        await channel.close()


async def refused(service: Service, address: str, bearer: str | None = None, **tls: Any) -> HeddleError:
    """What a caller is told."""
    async with calling(address, bearer, **tls) as channel:
        with pytest.raises(HeddleError) as raised:
            await service.read(channel, "x")
    return raised.value


async def test_a_token_of_the_issuer_names_tenant_and_scopes(service: Service, tmp_path: Path) -> None:
    identity = {"jwt": {**ISSUER, "jwks_file": published(tmp_path)}}
    async with serving(service, tmp_path, identity=identity) as address:
        async with calling(address, token()) as ada:
            made = await service.make(ada)
        async with calling(address, token(sub="bob", scope=READ)) as reader:
            assert await service.read(reader, made)
            with pytest.raises(ScopeMissing, match=RUN):
                await service.make(reader)
        async with calling(address, token(tenant="globex")) as foreign:
            with pytest.raises(service.unknown):
                await service.read(foreign, made)


async def test_any_other_token_is_refused(service: Service, tmp_path: Path) -> None:
    identity = {"jwt": {**ISSUER, "jwks_file": published(tmp_path)}}
    key, _ = mint("acme", "ada", [RUN, READ])
    async with serving(service, tmp_path, identity=identity) as address:
        for told, wrong in {
            "aud": token(aud="another"),
            "iss": token(iss="https://stranger.example"),
            "expired": token(exp=1),
            "not a token that verifies": token(STRANGER),
            "its tenant is missing": token(tenant=None),
            "control": token(tenant="control"),
            "no issuer": key,
        }.items():
            error = await refused(service, address, wrong)
            assert isinstance(error, CredentialInvalid)
            assert error.status is StatusCode.UNAUTHENTICATED
            assert told in error.problem
        assert isinstance(await refused(service, address), CredentialMissing)


async def test_a_certificate_names_its_caller_by_a_name_in_it(
    service: Service, tmp_path: Path, authority: Authority
) -> None:
    identity = {"certificates_file": listed(tmp_path, "desk.internal", RUN, READ, tenant="acme")}
    async with serving(service, tmp_path, identity=identity, **authority.server()) as address:
        async with calling(address, **authority.client("desk.internal")) as known:
            assert await service.read(known, await service.make(known))
        unmapped = await refused(service, address, **authority.client("somebody.else"))
        assert isinstance(unmapped, CredentialInvalid)
        assert unmapped.status is StatusCode.UNAUTHENTICATED
        assert isinstance(await refused(service, address, ca=authority.roots), ServiceUnreachable)


async def test_every_kind_that_is_set_is_taken_and_a_token_decides(
    service: Service, tmp_path: Path, authority: Authority
) -> None:
    key, record = mint("acme", "ci", [RUN, READ])
    identity = {
        "api_keys_file": kept(tmp_path, record),
        "jwt": {**ISSUER, "jwks_file": published(tmp_path)},
        "certificates_file": listed(tmp_path, "desk.internal", READ, tenant="globex"),
    }
    async with serving(service, tmp_path, identity=identity, **authority.server()) as address:
        shown = authority.client("desk.internal")
        async with calling(address, key, **shown) as by_key:
            made = await service.make(by_key)
        async with calling(address, token(), **shown) as by_token:
            assert await service.read(by_token, made)
        async with calling(address, **shown) as by_certificate:
            with pytest.raises(service.unknown):
                await service.read(by_certificate, made)


async def test_a_service_that_takes_everybody_at_their_word_is_refused_beyond_loopback(
    service: Service, tmp_path: Path
) -> None:
    async with serving(service, tmp_path) as address, calling(address) as anybody:
        assert await service.read(anybody, await service.make(anybody))
    with pytest.raises(CannotServe, match="development identity"):
        async with serving(service, tmp_path, listen="0.0.0.0:0", allow_plaintext=True):
            pass


async def test_what_is_set_by_half_stops_the_start_before_a_database_is_made(service: Service, tmp_path: Path) -> None:
    for half, told in (
        ({"identity": {"jwt": {"issuer": "i"}}}, "jwt.audience"),
        ({"runtime": {"token": "a", "token_file": "b"}}, "runtime.token and runtime.token_file"),
    ):
        with pytest.raises(CannotServe, match=told):
            async with serving(service, tmp_path, **half):
                pass
        assert not (tmp_path / service.name).exists()


# --- what a service shows to the runtime -----------------------------------------------------------------


async def spawned(spawn: str, key: str) -> Spawn:
    """A new child of ada's, as it stands when it is over."""
    spec = SpawnSpec(spawn_key=key, agent_id="general", task=[ContentPart(text="hello")])
    request = spawn_pb.SpawnAgentRequest(request_id=key, spec=spec, wait_seconds=20)
    async with calling(spawn, token()) as ada:
        return (await SpawnServiceStub(ada).SpawnAgent(request)).spawn


async def run_of_a_child(spawn: str, key: str, runtime: Channel) -> Run:
    """The run of a new child of ada's, over."""
    made = await spawned(spawn, key)
    assert made.state == SpawnState.SPAWN_STATE_COMPLETED, made
    return (await RuntimeStubs.on(runtime).runs.GetRun(GetRunRequest(run_id=made.run_id))).run


def of_service(name: str) -> str:
    """A token of a service, that may speak for others."""
    return token(tenant="ops", sub=name, scope=f"{RUN} {READ} {ACT_AS}")


async def test_a_token_file_that_is_renewed_is_taken_up_without_a_restart(tmp_path: Path) -> None:
    identity = {"jwt": {**ISSUER, "jwks_file": published(tmp_path)}}
    file = tmp_path / "token"
    file.write_text(f"{of_service('first')}\n")
    async with runtime(tmp_path, identity=identity) as at, calling(at, token()) as ada:
        way = {"address": at, "token_file": file}
        async with serving(SERVICES["spawn"], tmp_path, identity=identity, runtime=way) as spawn:
            run = await run_of_a_child(spawn, "before", ada)
            assert (run.actor.principal, run.actor.acted_by) == ("ada", "ops/first")
            renewed = tmp_path / "renewed"
            renewed.write_text(f"{of_service('second')}\n")
            renewed.rename(file)
            run = await run_of_a_child(spawn, "after", ada)
            assert (run.actor.principal, run.actor.acted_by) == ("ada", "ops/second")


async def test_work_waits_while_the_token_is_refused_and_goes_on_once_its_file_is_renewed(tmp_path: Path) -> None:
    identity = {"jwt": {**ISSUER, "jwks_file": published(tmp_path)}}
    file = tmp_path / "token"
    file.write_text(of_service("campaign"))
    async with AsyncExitStack() as stack:
        way = {"address": await stack.enter_async_context(runtime(tmp_path, identity=identity)), "token_file": file}
        at = await stack.enter_async_context(serving(SERVICES["campaign"], tmp_path, runtime=way))
        calls = Calls(CampaignServiceStub(await stack.enter_async_context(calling(at))))
        active = await calls.active()
        refused = token(tenant="ops", aud="another")
        file.write_text(refused)
        with capture_logs() as lines:
            cycle = await calls.trigger(active.campaign_id)
            (waits, *_) = await lines.of("a cycle waits", 1)
            file.write_text(of_service("campaign"))
            await calls.until(cycle.cycle_id, CycleState.CYCLE_STATE_COMPLETED)
        assert waits["reason"] == ServiceCredentialRefused.reason
        assert refused not in str(lines) and file.read_text() not in str(lines)


async def test_a_refusal_of_the_services_own_token_is_not_told_as_one_of_its_callers(tmp_path: Path) -> None:
    identity = {"jwt": {**ISSUER, "jwks_file": published(tmp_path)}}
    unfit = {
        "for-another": token(tenant="ops", aud="another"),
        "without-act_as": token(tenant="ops", scope=f"{RUN} {READ}"),
    }
    async with runtime(tmp_path, identity=identity) as at:
        for name, own in unfit.items():
            way = {"address": at, "token": own}
            async with serving(SERVICES["spawn"], tmp_path, identity=identity, runtime=way) as spawn:
                with pytest.raises(ServiceCredentialRefused, match="operator") as told:
                    await spawned(spawn, name)
                assert told.value.target == at and own not in str(told.value)


async def test_a_service_gets_into_a_runtime_that_asks_for_certificates_by_its_own(
    tmp_path: Path, authority: Authority
) -> None:
    issuer = {"jwt": {**ISSUER, "jwks_file": published(tmp_path)}}
    names = listed(tmp_path, "spawn.internal", RUN, READ, ACT_AS)
    certified = {"identity": {**issuer, "certificates_file": names}, **authority.server()}
    own = authority.client("spawn.internal")
    async with (
        runtime(tmp_path, **certified) as at,
        calling(at, token(), **authority.client("ada.internal")) as ada,
        serving(SERVICES["spawn"], tmp_path, identity=issuer, runtime={"address": at, **own}) as spawn,
    ):
        run = await run_of_a_child(spawn, "k", ada)
        assert (run.actor.principal, run.actor.acted_by) == ("ada", "ops/spawn")
