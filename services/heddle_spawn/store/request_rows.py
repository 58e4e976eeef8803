"""Idempotency: what a request made the first time, found again by its key (SEMANTICS 3)."""

from heddle_core.errors import Conflict, RequestIdReused
from heddle_database.port import Transaction
from heddle_spawn.facade.ports import RequestKey


def find_target(tx: Transaction, key: RequestKey) -> str | None:
    """The child or group that this very request made; None if it is new. Raises RequestIdReused."""
    row = tx.row(
        "SELECT target, fingerprint FROM spawn_requests WHERE tenant = :tenant AND principal = :principal"
        " AND method = :method AND request_id = :request",
        tenant=key.tenant,
        principal=key.principal,
        method=key.method,
        request=key.request_id,
    )
    if row is None:
        return None
    if row[1] != key.fingerprint:
        raise RequestIdReused(key.request_id, key.method)
    return row[0]


def remember(tx: Transaction, key: RequestKey, target: str) -> None:
    """Keep what a request made, in the transaction that makes it. Raises RequestIdReused, Conflict."""
    if find_target(tx, key) is not None:
        return
    written = tx.row(
        "INSERT INTO spawn_requests (tenant, principal, method, request_id, target, create_time, fingerprint)"
        " VALUES (:tenant, :principal, :method, :request, :target, :now, :fingerprint) ON CONFLICT DO NOTHING"
        " RETURNING target",
        tenant=key.tenant,
        principal=key.principal,
        method=key.method,
        request=key.request_id,
        target=target,
        now=tx.now,
        fingerprint=key.fingerprint,
    )
    if written is None:
        raise Conflict(f"request {key.request_id}")
