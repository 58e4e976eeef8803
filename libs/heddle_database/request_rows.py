"""Idempotency: what a request made the first time, found again by its key (SEMANTICS 3), in a service's own table."""

from dataclasses import dataclass
from datetime import timedelta

from heddle_core.clock import micros
from heddle_core.errors import Conflict, RequestIdReused
from heddle_core.requests import RequestKey
from heddle_database.port import Transaction


@dataclass(frozen=True, slots=True)
class RequestRows:
    """The requests in a table of tenant, principal, method, request_id (its key), target, create_time, fingerprint."""

    table: str

    def find_target(self, tx: Transaction, key: RequestKey) -> str | None:
        """What this very request made; None if it is new. Raises RequestIdReused."""
        row = tx.row(
            f"SELECT target, fingerprint FROM {self.table} WHERE tenant = :tenant AND principal = :principal"  # noqa: S608
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

    def remember(self, tx: Transaction, key: RequestKey, target: str) -> None:
        """Keep what a request made, in the transaction that makes it.

        Raises:
            RequestIdReused.
            Conflict: another process keeps the same request at the same moment; try again, and find it.
        """
        if self.find_target(tx, key) is None and self.keep(tx, key, target) is not None:
            raise Conflict(f"request {key.request_id}")

    def purge(self, tx: Transaction, kept_for: timedelta, most: int, passing: str, **named: object) -> int:
        """Let requests go that are older than `kept_for`, `most` at a time, oldest first; how many went.

        `passing` is a condition in SQL on the row, `r`, without which it stays; its parameters are `named`. Whatever
        stays for long is best left out of the index by age, or each round reads it again.
        """
        return tx.run(
            f"DELETE FROM {self.table} WHERE (tenant, principal, method, request_id) IN"  # noqa: S608
            f" (SELECT r.tenant, r.principal, r.method, r.request_id FROM {self.table} r"
            f" WHERE r.create_time < :until AND {passing} ORDER BY r.create_time LIMIT :most{tx.row_lock})",
            until=tx.now - micros(kept_for),
            most=most,
            **named,
        )

    def keep(self, tx: Transaction, key: RequestKey, target: str) -> str | None:
        """Keep what a request makes, before it is made; returns what it made before, if it is no new one.

        A request that another process keeps at the same moment is waited for. Raises RequestIdReused.
        """
        written = tx.row(
            f"INSERT INTO {self.table} (tenant, principal, method, request_id, target, create_time, fingerprint)"  # noqa: S608
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
        return None if written is not None else self.find_target(tx, key)
