"""What the runtime shows to tool providers: to those that are named what is named for them, to all others nothing."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme

from heddle.tools.v1 import tool_service_pb2 as pb
from heddle.tools.v1.tool_service_pb2_grpc import ToolServiceServicer, add_ToolServiceServicer_to_server
from heddle_core.clock import SystemClock
from heddle_core.errors import CredentialInvalid, CredentialMissing, ScopeMissing
from heddle_grpc.api_keys import mint
from heddle_grpc.identity_settings import IdentitySettings
from heddle_runtime.runs.stop import Stop
from heddle_runtime.settings import CredentialSettings
from heddle_runtime.tools.executor import Executor
from heddle_runtime.tools.outcomes import Failed, InDoubt, Outcome, Replied
from heddle_runtime.tools.port import ToolFault, ToolFaultKind, ToolProvider, ToolSpec
from heddle_runtime.wiring.tool_credentials import SETTING, reached
from heddle_spawn.settings import SpawnSettings
from heddle_spawn.wiring import running_spawn
from tests.kit.credentials import Authority
from tests.kit.log_capture import capture_logs
from tests.kit.tool_servers import declared, invocation_of, result

pytestmark = pytest.mark.timeout(60)

CLOCK = SystemClock()
LOCAL = "127.0.0.1"


@dataclass
class Gate(ToolServiceServicer):
    """A provider of another make, that lets in whoever shows what it takes."""

    takes: str | None = None
    """The token; None: everybody."""
    shown: list[str] = field(default_factory=list[str])
    """What each call had in `authorization`."""
    port: int = 0

    async def ListTools(self, request: Any, context: Any) -> pb.ListToolsResponse:
        await self._let_in(context)
        return pb.ListToolsResponse(tools=[declared("act", idempotent=True)])

    async def CallTool(self, request: Any, context: Any) -> AsyncIterator[pb.CallToolResponse]:
        await self._let_in(context)
        yield result()

    async def _let_in(self, context: Any) -> None:
        sent = dict(context.invocation_metadata()).get("authorization", "")
        self.shown.append(sent)
        if self.takes is not None and sent != f"Bearer {self.takes}":
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, f"I do not know {sent}")


@asynccontextmanager
async def at_gate(gate: Gate, credentials: grpc.ServerCredentials | None = None) -> AsyncGenerator[Gate]:
    server = grpc.aio.server()
    add_ToolServiceServicer_to_server(gate, server)
    address = f"{LOCAL}:{gate.port}"
    gate.port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    await server.start()
    try:
        yield gate
    finally:
        await server.stop(None)


@asynccontextmanager
async def provider(address: str, named: str = "", **given: Any) -> AsyncGenerator[ToolProvider]:
    """The provider at `address`, where `given` is named for it, or for the address `named`."""
    credentials = {named or address: CredentialSettings.model_validate(given)} if given else {}
    found = reached("kit", address, credentials, CLOCK)
    try:
        yield found
    finally:
        await found.close()


async def fault_of(provider: ToolProvider) -> ToolFault:
    with pytest.raises(ToolFault) as raised:
        await provider.list_tools()
    return raised.value


async def outcome_of(
    provider: ToolProvider, spec: ToolSpec, *, sent_before: bool = False, seconds: float = 30
) -> Outcome:
    invocation = invocation_of(spec, within=timedelta(seconds=seconds))
    executor = Executor(clock=CLOCK)
    return await executor.perform(provider, invocation, report=lambda _: None, stop=Stop(), sent_before=sent_before)


def written(file: Path, text: str) -> Path:
    file.write_text(text)
    return file


async def test_what_is_named_for_an_address_is_shown_there_and_nowhere_else(tmp_path: Path) -> None:
    token = written(tmp_path / "token", "secret-1\n")
    async with at_gate(Gate()) as named, at_gate(Gate()) as stranger:
        address = f"{LOCAL}:{named.port}"
        async with provider(address, token_file=token) as known:
            (spec,) = await known.list_tools()
            assert isinstance(await outcome_of(known, spec), Replied)
        assert named.shown == ["Bearer secret-1"] * 2
        async with provider(f"{LOCAL}:{stranger.port}", named=address, token_file=token) as other:
            await other.list_tools()
        for spelled in (f"localhost:{named.port}", f"ipv4:{address}", f"dns:{address}"):
            async with provider(spelled, named=address, token_file=token) as same_by_another_name:
                await same_by_another_name.list_tools()
        assert set(stranger.shown) == set(named.shown[2:]) == {""}


async def test_a_token_that_changes_is_shown_from_the_next_call_on(tmp_path: Path) -> None:
    token = written(tmp_path / "token", "secret-1")
    async with at_gate(Gate("secret-1")) as gate, provider(f"{LOCAL}:{gate.port}", token_file=token) as known:
        (spec,) = await known.list_tools()
        under_way = known.call(invocation_of(spec))
        assert await anext(under_way)
        gate.takes = "secret-2"
        refused = await outcome_of(known, spec)
        assert isinstance(refused, Failed)
        assert refused.reason == CredentialInvalid.reason
        written(token, "secret-2")
        assert isinstance(await outcome_of(known, spec), Replied)
        assert [event async for event in under_way] == []  # on the connection that it began with, which is open still
        assert "secret" not in refused.message


async def test_a_token_that_cannot_be_read_is_told_without_its_place_and_asked_for_again(tmp_path: Path) -> None:
    token = written(tmp_path / "token", "secret-1")
    async with at_gate(Gate("secret-1")) as gate, provider(f"{LOCAL}:{gate.port}", token_file=token) as known:
        (spec,) = await known.list_tools()
        token.rename(tmp_path / "away")
        with capture_logs() as lines:
            failed = await outcome_of(known, spec)
        assert isinstance(failed, Failed)
        assert failed.reason == CredentialMissing.reason
        assert SETTING in failed.message and str(tmp_path) not in failed.message
        assert [str(token) in str(line) for line in lines] == [True]
        written(token, "two secrets")
        assert (await fault_of(known)).kind is ToolFaultKind.NOT_SENT
        (tmp_path / "away").rename(token)
        assert isinstance(await outcome_of(known, spec), Replied)
        assert len(gate.shown) == 2


async def test_a_provider_that_asks_for_what_is_not_named_is_told_with_the_setting(tmp_path: Path) -> None:
    async with at_gate(Gate("secret-1")) as gate:
        address = f"{LOCAL}:{gate.port}"
        async with provider(address) as unnamed:
            fault = await fault_of(unnamed)
            assert (fault.kind, fault.reason) == (ToolFaultKind.REFUSED, CredentialMissing.reason)
            assert f"name a credential for {address} in {SETTING}" in fault.message
        async with provider(address, token_file=written(tmp_path / "token", "secret-2")) as wrong:
            fault = await fault_of(wrong)
            assert (fault.kind, fault.reason) == (ToolFaultKind.REFUSED, CredentialInvalid.reason)
            assert SETTING in fault.message and "secret" not in fault.message


async def test_a_provider_that_repeats_what_it_was_shown_does_not_bring_it_into_a_fault(tmp_path: Path) -> None:
    class Echo(Gate):
        async def _let_in(self, context: Any) -> None:
            sent = dict(context.invocation_metadata())["authorization"]
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, f"not with {sent}")

    token = written(tmp_path / "token", "secret-1")
    async with at_gate(Echo()) as gate, provider(f"{LOCAL}:{gate.port}", token_file=token) as known:
        assert (await fault_of(known)).message == "provider kit: not with Bearer ***"


async def test_a_call_in_doubt_is_not_settled_by_a_server_that_does_not_let_us_in(tmp_path: Path) -> None:
    async with at_gate(Gate("secret-1")) as gate, provider(f"{LOCAL}:{gate.port}") as unnamed:
        spec = ToolSpec("kit", "act", "Acts.", idempotent=True)
        outcome = await outcome_of(unnamed, spec, sent_before=True, seconds=0.5)
        assert isinstance(outcome, InDoubt)
        assert SETTING in outcome.message
        gate.takes = None
        assert isinstance(await outcome_of(unnamed, spec, sent_before=True), Replied)


@pytest.mark.parametrize(
    ("scopes", "told", "reason"),
    [
        (["act_as"], "", ""),
        (["runtime.run"], "asks for scope act_as", ScopeMissing.reason),
        (None, "does not take the credential (unknown or revoked API key)", CredentialInvalid.reason),
    ],
)
async def test_a_spawn_service_tells_at_once_what_the_key_of_the_runtime_lacks(
    tmp_path: Path, scopes: list[str] | None, told: str, reason: str
) -> None:
    key, record = mint("ops", "runtime", scopes or [])
    kept = written(tmp_path / "keys", f"[{record.model_dump_json()}]" if scopes is not None else "[]")
    settings = SpawnSettings(
        listen=f"{LOCAL}:0", data_dir=tmp_path / "data", identity=IdentitySettings(api_keys_file=kept)
    )
    async with (
        running_spawn(settings) as spawn,
        provider(spawn.address, token_file=written(tmp_path / "token", key)) as known,
    ):
        if not told:
            assert "spawn_agent" in [each.name for each in await known.list_tools()]
            return
        fault = await fault_of(known)
        assert (fault.kind, fault.reason) == (ToolFaultKind.REFUSED, reason)
        assert told in fault.message and SETTING in fault.message and key not in fault.message


# --- TLS -------------------------------------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def shown_by(authority: Authority) -> dict[str, Any]:
    """What is shown to tools.internal, and whom to trust there."""
    client = authority.client("runtime.internal")
    files = {"ca_file": client["ca"], "certificate_file": client["certificate"], "key_file": client["key"]}
    return {**files, "server_name": "tools.internal"}


async def test_a_certificate_is_shown_and_a_new_one_once_its_files_change(authority: Authority) -> None:
    shown = shown_by(authority)
    async with (
        at_gate(Gate(), authority.server_credentials("tools.internal")) as gate,
        provider(f"{LOCAL}:{gate.port}", **shown) as known,
    ):
        (spec,) = await known.list_tools()
        of_the_server, authority.ca = authority.ca, trustme.CA()
        assert authority.roots, "their file says so"
        failed = await outcome_of(known, spec)
        assert isinstance(failed, Failed), "another authority is trusted, and the server is not of it"
        assert f"{SETTING} says of TLS" in failed.message
        authority.ca = of_the_server
        shown_by(authority)
        assert isinstance(await outcome_of(known, spec), Replied)


@pytest.mark.parametrize(
    "without",
    [
        ("certificate_file", "key_file"),
        ("server_name",),
        ("ca_file",),
        ("ca_file", "certificate_file", "key_file", "server_name"),
    ],
)
async def test_tls_that_does_not_fit_is_told_with_the_setting(authority: Authority, without: tuple[str, ...]) -> None:
    shown = shown_by(authority)
    for name in without:
        del shown[name]
    async with (
        at_gate(Gate(), authority.server_credentials("tools.internal")) as gate,
        provider(f"{LOCAL}:{gate.port}", **shown) as wrong,
    ):
        fault = await fault_of(wrong)
        assert fault.kind is ToolFaultKind.NOT_SENT
        assert SETTING in fault.message


async def test_a_key_that_is_none_is_told_as_a_provider_that_cannot_be_reached(authority: Authority) -> None:
    shown = shown_by(authority)
    written(Path(shown["key_file"]), "no key")
    async with (
        at_gate(Gate(), authority.server_credentials("tools.internal")) as gate,
        provider(f"{LOCAL}:{gate.port}", **shown) as wrong,
    ):
        fault = await fault_of(wrong)
        assert fault.kind is ToolFaultKind.NOT_SENT
        assert SETTING in fault.message
