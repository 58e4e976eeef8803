"""Starting a server: what it refuses to start with, where it listens, and what operators see."""

import asyncio
import socket
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from prometheus_client.parser import text_string_to_metric_families

from heddle_core.errors import (
    CannotServe,
    CredentialInvalid,
    CredentialMissing,
    InvalidField,
    NotServed,
    ScopeMissing,
    ServiceUnreachable,
)
from heddle_core.ids import PrincipalId, TenantId
from heddle_grpc import calls
from heddle_grpc.api_keys import ApiKeys, mint
from heddle_grpc.authorization import Access
from heddle_grpc.certificates import ClientCertificates
from heddle_grpc.channel import act_as
from heddle_grpc.identity import ANONYMOUS, Identity
from tests.kit.grpc_probe import NAME, RULES, Probe, Servicer, answer, ask, local, probing, reaching, serving

SPAWN = Identity(TenantId("ops"), PrincipalId("spawn"), frozenset({"act_as", "turns"}))
ADA = Identity(TenantId("acme"), PrincipalId("ada"))


class WhoAmI(Servicer):
    """Answers with the identity of the caller."""

    async def Ask(self, request: Any, context: Any) -> Any:
        identity = calls.current().identity
        return answer(f"{identity.tenant}/{identity.principal} by {identity.acted_by or 'itself'}")


async def http(port: int, target: str, verb: str = "GET") -> tuple[int, str]:
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(f"{verb} {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
    return int(head.split()[1]), body.decode()


async def test_a_method_without_a_rule_stops_the_server() -> None:
    rules = {name: rule for name, rule in RULES.items() if name != "Watch"}
    with pytest.raises(CannotServe, match=f"/{NAME}/Watch"):
        serving(rules=rules)


async def test_a_sync_method_stops_the_server() -> None:
    class Sync(Servicer):
        def Ask(self, request: Any, context: Any) -> Any:  # type: ignore[override]
            return answer()

    with pytest.raises(CannotServe, match="Ask is not an async function"):
        serving(Sync())


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "10.1.2.3:0"])
async def test_the_development_identity_is_refused_where_others_can_reach_it(address: str) -> None:
    settings = local(listen=["127.0.0.1:0", address], allow_plaintext=True)
    with pytest.raises(CannotServe, match="development identity"):
        serving(settings=settings)


async def test_plaintext_is_refused_where_others_can_reach_it() -> None:
    settings = local(listen=["0.0.0.0:0"])
    with pytest.raises(CannotServe, match="plaintext"):
        serving(settings=settings, authenticators=[ApiKeys([])])
    assert serving(settings=local(listen=["0.0.0.0:0"], allow_plaintext=True), authenticators=[ApiKeys([])])


async def test_an_address_in_use_is_named_with_a_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for field in ("operations", "operations_http"):
            with pytest.raises(CannotServe, match=address):
                async with serving(settings=local(**{field: address})).running():
                    pass
        with pytest.raises(CannotServe, match=f"{address}.*set another address"):
            async with serving(settings=local(listen=[address])).running():
                pass


async def test_two_servers_never_share_a_port() -> None:
    async with serving().running() as first:
        with pytest.raises(CannotServe):
            async with serving(settings=local(listen=[f"127.0.0.1:{first.ports[0]}"])).running():
                pass


async def test_a_server_listens_on_several_addresses_and_on_a_socket_file(tmp_path: Path) -> None:
    path = f"unix:{tmp_path}/s"
    server = serving(settings=local(listen=["127.0.0.1:0", path]))
    async with server.running(), reaching(server) as tcp, reaching(server, address=path) as unix:
        assert (await Probe(tcp).ask(ask("a"))).text == "a"
        assert (await Probe(unix).ask(ask("b"))).text == "b"


async def test_health_is_public_and_follows_each_service() -> None:
    server = serving(authenticators=[ApiKeys([])], settings=local(calls={"unary": 1}))
    async with server.running(), reaching(server) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        serving_status = health_pb2.HealthCheckResponse.SERVING
        for name in ("", NAME):
            found = await health.Check(health_pb2.HealthCheckRequest(service=name))
            assert found.status == serving_status
        await server.set_serving(False, service=NAME)
        assert not server.is_ready
        found = await health.Check(health_pb2.HealthCheckRequest())
        assert found.status == health_pb2.HealthCheckResponse.NOT_SERVING
        with pytest.raises(NotServed):
            await health.List(health_pb2.HealthListRequest())
        with pytest.raises(InvalidField):
            await health.Check(health_pb2.HealthCheckRequest(service="\0"))
        with pytest.raises(CredentialMissing):
            await Probe(channel).ask(ask())


async def test_reflection_tells_the_contract_when_it_is_on() -> None:
    async with serving(settings=local(reflection=True)).running() as server:
        services = await asyncio.to_thread(_reflected, server.ports[0])
    assert NAME in services


def _reflected(port: int) -> Any:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        return ProtoReflectionDescriptorDatabase(channel).get_services()


async def test_operators_see_health_channelz_and_metrics_without_a_credential() -> None:
    settings = local(operations="127.0.0.1:0", operations_http="127.0.0.1:0")
    server = serving(settings=settings)
    async with server.running(), reaching(server) as channel:
        await Probe(channel).ask(ask("x"))
        with pytest.raises(InvalidField):
            await Probe(channel).ask(ask(thread_id="."))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.operations_port}") as operations:
            health = health_pb2_grpc.HealthStub(operations)
            found = await health.Check(health_pb2.HealthCheckRequest(service=NAME))
            assert found.status == health_pb2.HealthCheckResponse.SERVING
            seen = await channelz_pb2_grpc.ChannelzStub(operations).GetServers(channelz_pb2.GetServersRequest())
            assert len(seen.server) >= 1
        port = server.operations_http_port
        assert await http(port, "/livez") == (200, "alive\n")
        assert (await http(port, "/readyz?verbose"))[0] == 200
        assert (await http(port, "/nowhere"))[0] == 404
        assert (await http(port, "/livez", "POST"))[0] == 405
        assert await http(port, "/livez", "HEAD") == (200, "")
        status, text = await http(port, "/metrics")
        counted = {
            (sample.labels["method"], sample.labels["code"]): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "heddle_grpc_calls_total"
        }
        path = f"/{NAME}/Ask"
        assert (status, counted[path, "OK"], counted[path, "INVALID_ARGUMENT"]) == (200, 1.0, 1.0)
        server.drain.begin()
        assert (await http(port, "/readyz"))[0] == 503
        assert (await http(port, "/livez"))[0] == 200


async def test_noise_on_the_http_port_harms_nobody() -> None:
    server = serving(settings=local(operations_http="127.0.0.1:0"))
    async with server.running(), asyncio.timeout(10):
        port = server.operations_http_port
        for noise in (b"\r\n\r\n", b"\0" * 100 + b"\r\n\r\n", b"GET\r\n\r\n", b"A" * 20_000, b""):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(noise)
            writer.write_eof()
            await reader.read()
            writer.close()
        assert (await http(port, "/livez"))[0] == 200


async def test_who_calls_comes_from_the_credential_alone() -> None:
    text, record = mint("acme", "ada")
    server = serving(WhoAmI(), authenticators=[ApiKeys([record])])
    async with server.running():
        async with reaching(server, token=lambda: text) as channel:
            assert (await Probe(channel).ask(ask())).text == "acme/ada by itself"
            twice = (("authorization", "Bearer other"),)
            with pytest.raises(CredentialInvalid, match="more than once"):
                await Probe(channel).ask(ask(), metadata=twice)
        async with reaching(server, token=lambda: text + "x") as channel:
            with pytest.raises(CredentialInvalid):
                await Probe(channel).ask(ask())
            with pytest.raises(CredentialInvalid):
                async for _ in Probe(channel).watch(ask()):
                    pass


async def test_act_as_is_honoured_with_the_scope_and_refused_without() -> None:
    service, service_record = mint("ops", "spawn", ["act_as"])
    person, person_record = mint("acme", "eve")
    server = serving(WhoAmI(), authenticators=[ApiKeys([service_record, person_record])])
    async with server.running():
        async with reaching(server, token=lambda: service) as channel:
            acted = await Probe(channel).ask(ask(), metadata=act_as(ADA))
            assert acted.text == "acme/ada by ops/spawn"
            with pytest.raises(CredentialInvalid, match="more than once"):
                await Probe(channel).ask(ask(), metadata=(*act_as(ADA), *act_as(SPAWN)))
        async with reaching(server, token=lambda: person) as channel:
            with pytest.raises(ScopeMissing, match="act_as"):
                await Probe(channel).ask(ask(), metadata=act_as(ADA))


async def test_a_scope_is_asked_for_and_a_public_method_asks_for_nothing() -> None:
    text, record = mint("acme", "ada", ["read"])
    rules = {**RULES, "Ask": "write", "Watch": "read", "Collect": Access.PUBLIC}
    seen: list[Identity] = []

    class Noting(Servicer):
        async def Collect(self, requests: Any, context: Any) -> Any:
            seen.append(calls.current().identity)
            return answer()

    server = serving(Noting(), authenticators=[ApiKeys([record])], rules=rules)
    async with server.running(), reaching(server, token=lambda: text) as channel:
        probe = Probe(channel)
        with pytest.raises(ScopeMissing) as caught:
            await probe.ask(ask())
        assert (caught.value.scope, caught.value.method) == ("write", f"/{NAME}/Ask")
        assert len([each async for each in probe.watch(ask())]) == 3
        async with reaching(server) as nobody:
            await Probe(nobody).collect(no_requests())
            with pytest.raises(ScopeMissing, match="act_as"):
                await Probe(nobody).collect(no_requests(), metadata=act_as(ADA))
    assert seen == [ANONYMOUS]


async def no_requests() -> Any:
    for each in ():
        yield each


@pytest.fixture
def certificates(tmp_path: Path) -> dict[str, str]:
    """PEM files of a server, of a client that it trusts, and of a stranger."""
    ca, other = trustme.CA(), trustme.CA()
    files: dict[str, str] = {}
    for name, authority, names in (
        ("server", ca, ["localhost", "127.0.0.1"]),
        ("client", ca, ["spiffe.local", "spawn.heddle.internal"]),
        ("unmapped", ca, ["somebody.else"]),
        ("stranger", other, ["spawn.heddle.internal"]),
    ):
        issued = authority.issue_cert(*names)
        files[name] = str(tmp_path / f"{name}.pem")
        files[f"{name}.key"] = str(tmp_path / f"{name}.key")
        Path(files[name]).write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        issued.private_key_pem.write_to_path(files[f"{name}.key"])
    files["ca"] = str(tmp_path / "ca.pem")
    ca.cert_pem.write_to_path(files["ca"])
    return files


async def test_a_client_certificate_is_an_identity(certificates: dict[str, str]) -> None:
    files = certificates
    tls = {"certificate": files["server"], "key": files["server.key"], "client_ca": files["ca"]}
    server = serving(
        WhoAmI(),
        settings=local(tls=tls),
        authenticators=[ClientCertificates({"spawn.heddle.internal": SPAWN})],
    )

    async def asked(name: str | None) -> str:
        shown = {"certificate": files[name], "key": files[f"{name}.key"]} if name else {}
        async with reaching(server, tls={"ca": files["ca"], **shown}) as channel:
            return (await Probe(channel).ask(ask(), timeout=5)).text

    async with server.running():
        assert await asked("client") == "ops/spawn by itself"
        with pytest.raises(CredentialInvalid, match="names is mapped"):
            await asked("unmapped")
        for name in ("stranger", None):
            with pytest.raises(ServiceUnreachable):
                await asked(name)


async def test_tls_files_that_are_missing_are_named(tmp_path: Path) -> None:
    tls = {"certificate": str(tmp_path / "none.pem"), "key": str(tmp_path / "none.key")}
    with pytest.raises(CannotServe, match=r"none\.key"):
        async with serving(settings=local(tls=tls)).running():
            pass


async def test_open_streams_and_connections_do_not_keep_a_server_from_stopping() -> None:
    class Silent(Servicer):
        async def Watch(self, request: Any, context: Any) -> Any:
            yield answer()
            await asyncio.Event().wait()

    async with asyncio.timeout(10), probing(Silent()) as probe:
        async for _ in probe.watch(ask()):
            break
