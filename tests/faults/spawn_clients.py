"""A client of the spawn service that puts every call, answer and unknown outcome on record."""

import asyncio
import hashlib
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf.message import Message

from heddle.spawn.v1alpha1 import spawn_group_pb2, spawn_pb2
from heddle.spawn.v1alpha1 import spawn_service_pb2 as pb
from heddle.spawn.v1alpha1.spawn_service_pb2_grpc import SpawnServiceStub
from tests.faults.clients import UNSAID, Told, reason_of
from tests.faults.journal import Journal

_OPTIONS = (
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 300),
    ("grpc.use_local_subchannel_pool", 1),
)


class SpawnClient:
    """One principal of one tenant at the spawn service."""

    def __init__(self, tenant: str, principal: str, stub: SpawnServiceStub, journal: Journal) -> None:
        self.tenant = tenant
        self.principal = principal
        self._stub = stub
        self._journal = journal

    async def call(self, method: str, request: Message, *, seconds: float = 20.0) -> Told:
        """Make one call, and put on record what was asked and what was said."""
        began, code, details = time.time(), "OK", ""
        metadata = (("heddle-act-as", f"{self.tenant}/{self.principal}"),)
        try:
            told = Told("ok", await getattr(self._stub, method)(request, metadata=metadata, timeout=seconds))
        except grpc.aio.AioRpcError as error:
            told = Told("unknown" if error.code() in UNSAID else "refused", None, reason_of(error))
            code, details = error.code().name, error.details() or ""
        self._journal.write(
            "spawn_call",
            tenant=self.tenant,
            principal=self.principal,
            method=method,
            began=began,
            outcome=told.outcome,
            code=code,
            reason=told.reason,
            message=details,
            asked=_asked(request),
            said=_said(told.response),
        )
        return told

    async def persist(self, method: str, request: Message, until: Callable[[], bool]) -> Told:
        """Repeat a call to the letter until something is said or `until` is true."""
        while True:
            told = await self.call(method, request)
            if told.outcome != "unknown" or until():
                return told
            await asyncio.sleep(0.1)


@asynccontextmanager
async def spawn_stub(address: str) -> AsyncGenerator[SpawnServiceStub]:
    """The spawn service at an address."""
    async with grpc.aio.insecure_channel(address, options=_OPTIONS) as channel:
        yield SpawnServiceStub(channel)


def _asked(request: Any) -> dict[str, Any]:
    """What a request names, and a digest of what it wants."""
    told: dict[str, Any] = {}
    for name in ("request_id", "parent_run_id", "spawn_id", "group_id"):
        if getattr(request, name, ""):
            told[name] = getattr(request, name)
    if (spec := getattr(request, "spec", None)) is not None:
        told["key"] = spec.spawn_key if isinstance(request, pb.SpawnAgentRequest) else spec.group_key
        told["body"] = hashlib.sha256(spec.SerializeToString(deterministic=True)).hexdigest()[:24]
    return told


def _said(response: Any) -> dict[str, Any]:
    """What an answer promises: children by their ids, and how each stands."""
    if not isinstance(response, pb.SpawnAgentResponse | pb.SpawnGroupResponse | pb.CancelSpawnResponse):
        return {}
    group: spawn_group_pb2.SpawnGroup = getattr(response, "group", spawn_group_pb2.SpawnGroup())
    spawn: spawn_pb2.Spawn = getattr(response, "spawn", spawn_pb2.Spawn())
    spawns = {each.spawn_id: each.state for each in (spawn, *group.spawns) if each.spawn_id}
    return {"spawns": spawns, "group_id": group.group_id, "group_state": group.state}
