"""Idempotency: the first success of a request, found again by its key (SEMANTICS 3)."""

from datetime import timedelta

from heddle_core.clock import micros
from heddle_core.errors import RequestIdReused
from heddle_core.ids import PrincipalId, RequestId, RunId, TenantId, ThreadId
from heddle_core.runtime_errors import RequestCancelled
from heddle_core.values import value
from heddle_database.port import Transaction
from heddle_runtime.facade.commands import Caller, RequestKey

START_TURN = "StartTurn"
"""The method under which both StartTurn and StartStreamingTurn are known: they start the same thing."""


@value
class Answered:
    """What a request was answered the first time."""

    run_id: RunId
    thread_id: ThreadId
    response: bytes


def find(tx: Transaction, caller: Caller, key: RequestKey) -> Answered | None:
    """The first answer to this very request, or None if it is new.

    Raises:
        RequestIdReused: the id was used with another body.
        RequestCancelled: it was cancelled before it arrived.
    """
    row = tx.row(
        "SELECT run_id, thread_id, response, fingerprint, cancelled FROM requests WHERE tenant = :tenant"
        " AND principal = :principal AND method = :method AND request_id = :request",
        tenant=caller.tenant,
        principal=caller.actor.principal,
        method=key.method,
        request=key.request_id,
    )
    if row is None:
        return None
    if row[4]:
        raise RequestCancelled(key.request_id)
    if row[3] != key.fingerprint:
        raise RequestIdReused(key.request_id, key.method)
    return Answered(RunId(row[0]), ThreadId(row[1]), row[2] or b"")


def find_turn(tx: Transaction, tenant: TenantId, principal: PrincipalId, request_id: RequestId) -> Answered | None:
    """The run that a turn's request started, whatever its body was."""
    row = tx.row(
        "SELECT run_id, thread_id FROM requests WHERE tenant = :tenant AND principal = :principal"
        " AND method = :method AND request_id = :request AND cancelled = 0",
        tenant=tenant,
        principal=principal,
        method=START_TURN,
        request=request_id,
    )
    return Answered(RunId(row[0]), ThreadId(row[1]), b"") if row else None


def remember(
    tx: Transaction,
    caller: Caller,
    key: RequestKey,
    run_id: RunId = RunId(""),
    thread_id: ThreadId = ThreadId(""),
    response: bytes = b"",
) -> None:
    """Keep the answer to a request, in the transaction that makes it true."""
    _insert(tx, caller, key, run_id, thread_id, response, cancelled=0)


def leave_tombstone(tx: Transaction, caller: Caller, request_id: RequestId) -> None:
    """Refuse a turn that has not arrived yet: a cancel by its request id came first (SEMANTICS 15)."""
    key = RequestKey(START_TURN, request_id, b"")
    _insert(tx, caller, key, RunId(""), ThreadId(""), b"", cancelled=1, unless_known=" ON CONFLICT DO NOTHING")


def purge(tx: Transaction, kept_for: timedelta, most: int) -> int:
    """Forget the oldest requests beyond an age, but for those that made a run or a thread; how many these were.

    A run's is known as long as the run, and after that by its hash (SEMANTICS 3).
    """
    return tx.run(
        "DELETE FROM requests WHERE (tenant, principal, method, request_id) IN (SELECT tenant, principal, method,"
        " request_id FROM requests WHERE run_id = '' AND method NOT IN ('CreateThread', 'ForkThread')"
        f" AND create_time < :until ORDER BY create_time LIMIT :most{tx.row_lock})",
        until=tx.now - micros(kept_for),
        most=most,
    )


def _insert(
    tx: Transaction,
    caller: Caller,
    key: RequestKey,
    run_id: RunId,
    thread_id: ThreadId,
    response: bytes,
    cancelled: int,
    unless_known: str = "",
) -> None:
    tx.run(
        "INSERT INTO requests (tenant, principal, method, request_id, fingerprint, run_id, thread_id, response,"
        " create_time, cancelled) VALUES (:tenant, :principal, :method, :request, :fingerprint, :run, :thread,"
        f" :response, :time, :cancelled){unless_known}",
        tenant=caller.tenant,
        principal=caller.actor.principal,
        method=key.method,
        request=key.request_id,
        fingerprint=key.fingerprint,
        run=run_id,
        thread=thread_id,
        response=response,
        time=tx.now,
        cancelled=cancelled,
    )
