"""The tool providers that tenants have registered."""

import json
from dataclasses import replace

from heddle_core.errors import AlreadyExists, EtagMismatch
from heddle_core.ids import TenantId
from heddle_core.runtime_errors import ToolProviderNotFound
from heddle_database.port import Row, Transaction
from heddle_runtime.facade.provider_commands import CreateProvider, DeleteProvider, ProviderRow, UpdateProvider
from heddle_runtime.store import requests
from heddle_runtime.store.log import LogWriter
from heddle_runtime.store.store import Store

_COLUMNS = "provider_id, revision, body"


class ToolProviderStore:
    """Tool providers in the database. All methods raise StoreUnavailable when it is in trouble."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def providers(self, tenant: TenantId) -> tuple[ProviderRow, ...]:
        """All that a tenant has registered, by id."""
        return await self._store.read(lambda tx: list_providers(tx, tenant))

    async def create_provider(self, command: CreateProvider) -> ProviderRow:
        """Register one. Raises AlreadyExists, RequestIdReused."""
        return await self._store.write(lambda writer: create_provider(writer, command))

    async def update_provider(self, command: UpdateProvider) -> ProviderRow:
        """Change one. Raises ToolProviderNotFound, EtagMismatch, RequestIdReused."""
        return await self._store.write(lambda writer: update_provider(writer, command))

    async def delete_provider(self, command: DeleteProvider) -> None:
        """Remove one. Raises ToolProviderNotFound, RequestIdReused."""
        await self._store.write(lambda writer: delete_provider(writer, command))


def list_providers(tx: Transaction, tenant: TenantId) -> tuple[ProviderRow, ...]:
    """All that a tenant has registered, by id."""
    rows = tx.rows(f"SELECT {_COLUMNS} FROM tool_providers WHERE tenant = :tenant ORDER BY provider_id", tenant=tenant)
    return tuple(_provider(row) for row in rows)


def create_provider(writer: LogWriter, command: CreateProvider) -> ProviderRow:
    """Register a provider, or find the one that this request registered before."""
    tenant, given = command.caller.tenant, command.provider
    known = requests.find(writer.tx, command.caller, command.key)
    found = _find(writer.tx, tenant, given.provider_id)
    if known is not None and found is not None:
        return found
    if known is not None:
        raise ToolProviderNotFound(given.provider_id)
    if found is not None:
        raise AlreadyExists("tool provider", given.provider_id)
    writer.tx.run(
        "INSERT INTO tool_providers (tenant, provider_id, revision, create_time, body)"
        " VALUES (:tenant, :provider, 1, :now, :body)",
        tenant=tenant,
        provider=given.provider_id,
        now=writer.tx.now,
        body=_body(given),
    )
    requests.remember(writer.tx, command.caller, command.key)
    return replace(given, revision=1)


def update_provider(writer: LogWriter, command: UpdateProvider) -> ProviderRow:
    """Change a provider, once per request."""
    tenant, provider_id = command.caller.tenant, command.provider.provider_id
    known = requests.find(writer.tx, command.caller, command.key)
    found = _find(writer.tx, tenant, provider_id)
    if found is None:
        raise ToolProviderNotFound(provider_id)
    if known is not None:
        return found
    if command.etag and command.etag != str(found.revision):
        raise EtagMismatch("Tool provider", provider_id, command.etag, str(found.revision))
    changed = replace(found, **{name: getattr(command.provider, name) for name in command.fields})
    changed = replace(changed, revision=found.revision + 1)
    if not command.validate_only:
        writer.tx.run(
            "UPDATE tool_providers SET revision = :revision, body = :body WHERE tenant = :tenant"
            " AND provider_id = :provider",
            revision=changed.revision,
            body=_body(changed),
            tenant=tenant,
            provider=provider_id,
        )
        requests.remember(writer.tx, command.caller, command.key)
    return changed


def delete_provider(writer: LogWriter, command: DeleteProvider) -> None:
    """Remove a provider, once per request."""
    known = requests.find(writer.tx, command.caller, command.key)
    if known is not None:
        return
    if _find(writer.tx, command.caller.tenant, command.provider_id) is None:
        raise ToolProviderNotFound(command.provider_id)
    writer.tx.run(
        "DELETE FROM tool_providers WHERE tenant = :tenant AND provider_id = :provider",
        tenant=command.caller.tenant,
        provider=command.provider_id,
    )
    requests.remember(writer.tx, command.caller, command.key)


def _find(tx: Transaction, tenant: TenantId, provider_id: str) -> ProviderRow | None:
    row = tx.row(
        f"SELECT {_COLUMNS} FROM tool_providers WHERE tenant = :tenant AND provider_id = :provider{tx.row_lock}",
        tenant=tenant,
        provider=provider_id,
    )
    return _provider(row) if row else None


def _body(provider: ProviderRow) -> bytes:
    return json.dumps({"grpc_target": provider.grpc_target, "allowed_tools": provider.allowed_tools}).encode()


def _provider(row: Row) -> ProviderRow:
    body = json.loads(row[2])
    return ProviderRow(row[0], body["grpc_target"], tuple(body["allowed_tools"]), row[1])
