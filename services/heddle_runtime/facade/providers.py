"""Tool providers: those of the deployment, shared by all tenants, and those that a tenant has registered."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from heddle_core.clock import Clock
from heddle_core.errors import AlreadyExists, CannotServe, IllegalTransition, invalid
from heddle_core.ids import TenantId
from heddle_core.runtime_errors import ToolProviderNotFound
from heddle_runtime.facade.page_commands import Listing, Page
from heddle_runtime.facade.paging import page_of
from heddle_runtime.facade.provider_commands import (
    CreateProvider,
    DeleteProvider,
    ProviderRow,
    ProviderView,
    UpdateProvider,
)
from heddle_runtime.tools.declarations import LONGEST_DEADLINE
from heddle_runtime.tools.port import ToolProvider, ToolSpec
from heddle_runtime.tools.registry import Difference, Registry
from heddle_runtime.tools.schema import Schemas
from heddle_runtime.tools.selection import Selection, Wishes
from heddle_runtime.tools.shut_provider import ShutProvider

FRESH = timedelta(seconds=5)
"""How long a tenant's rows are trusted: so late does this process learn of what another one has changed."""


class ProviderSource(Protocol):
    """What is asked of the store; see `store.tool_providers.ToolProviderStore`."""

    async def providers(self, tenant: TenantId) -> tuple[ProviderRow, ...]:
        """All that a tenant has registered, by id."""
        ...

    async def create_provider(self, command: CreateProvider) -> ProviderRow:
        """Register one. Raises AlreadyExists, RequestIdReused."""
        ...

    async def update_provider(self, command: UpdateProvider) -> ProviderRow:
        """Change one. Raises ToolProviderNotFound, EtagMismatch, RequestIdReused."""
        ...

    async def delete_provider(self, command: DeleteProvider) -> None:
        """Remove one. Raises ToolProviderNotFound, RequestIdReused."""
        ...


Connect = Callable[[str, str], ToolProvider]
"""Opens a provider by its id and its target, as `tools.grpc_provider.connect` does. Raises CannotServe."""


@dataclass(slots=True)
class _Shelf:
    """The providers of one tenant, as far as this process knows."""

    registry: Registry
    rows: dict[str, ProviderRow] = field(default_factory=dict[str, ProviderRow])
    fresh_until: float = float("-inf")
    changes: int = 0
    """Written by this process: rows that were read before the latest of them are not fresh."""
    syncing: asyncio.Lock = field(default_factory=asyncio.Lock)


class ToolProviders:
    """The providers of all tenants. Serves as the toolbox of lanes and estimates, and to find who performs a call."""

    def __init__(
        self,
        source: ProviderSource,
        shared: Sequence[ToolProvider],
        connect: Connect,
        clock: Clock,
        schemas: Schemas,
        *,
        fresh: timedelta = FRESH,
    ) -> None:
        """`shared` are the deployment's providers, which every tenant has and nobody but the wiring closes."""
        self._source = source
        self._shared = {provider.provider_id: provider for provider in shared}
        self._connect = connect
        self._clock = clock
        self._schemas = schemas
        self._fresh = fresh.total_seconds()
        self._shelves: dict[TenantId, _Shelf] = {}
        self._retired: list[tuple[float, ToolProvider]] = []

    # --- for the lanes ---

    async def select(self, tenant: TenantId, wishes: Wishes) -> Selection:
        """The tools that an agent's wishes and the tenant's rules give, as loaded last."""
        return (await self._loaded(tenant)).registry.select(wishes)

    def select_at_once(self, tenant: TenantId, wishes: Wishes) -> Selection | None:
        """The same, where the tenant's rows are fresh and all of its providers are loaded; else None."""
        shelf = self._shelves.get(tenant)
        if shelf is None or shelf.fresh_until <= self._clock.monotonic() or shelf.registry.due:
            return None
        return shelf.registry.select(wishes)

    def provider(self, tenant: TenantId, provider_id: str) -> ToolProvider | None:
        """Who serves a tool that `select` has given; None: it is gone."""
        shelf = self._shelves.get(tenant)
        if shelf is None:
            return self._shared.get(provider_id)
        try:
            return shelf.registry.enrolment(provider_id).provider
        except ToolProviderNotFound:
            return None

    # --- for callers ---

    async def get(self, tenant: TenantId, provider_id: str) -> ProviderView:
        """A provider as it stands. Raises ToolProviderNotFound."""
        return _view(await self._loaded(tenant), provider_id)

    async def list(self, tenant: TenantId, page: Page) -> Listing[ProviderView]:
        """A page of providers, by id. Raises InvalidField for a foreign cursor."""
        shelf = await self._loaded(tenant)
        views = [_view(shelf, each.provider.provider_id) for each in shelf.registry.enrolments()]
        return page_of(views, lambda view: (view.provider_id,), page)

    async def create(self, command: CreateProvider) -> ProviderView:
        """Register a provider and load its tools; one that cannot be reached is registered with its problem.

        Raises:
            AlreadyExists, RequestIdReused.
            InvalidField: its target is none.
        """
        given, tenant = command.provider, command.caller.tenant
        if given.provider_id in self._shared:
            raise AlreadyExists("tool provider", given.provider_id)
        await self._require_target(given)
        row = await self._source.create_provider(command)
        return _view(await self._anew(tenant), row.provider_id)

    async def update(self, command: UpdateProvider) -> ProviderView:
        """Change a provider and load its tools again.

        Raises:
            ToolProviderNotFound, EtagMismatch, RequestIdReused.
            IllegalTransition: it belongs to the deployment.
            InvalidField: its new target is none.
        """
        self._require_own(command.provider.provider_id, "be changed")
        if "grpc_target" in command.fields:
            await self._require_target(command.provider)
        row = await self._source.update_provider(command)
        if command.validate_only:
            return ProviderView(row.provider_id, row.grpc_target, row.allowed_tools, row.revision, "not changed", None)
        return _view(await self._anew(command.caller.tenant), row.provider_id)

    async def delete(self, command: DeleteProvider) -> None:
        """Remove a provider; calls under way end as they end.

        Raises:
            ToolProviderNotFound, RequestIdReused.
            IllegalTransition: it belongs to the deployment.
        """
        self._require_own(command.provider_id, "be removed")
        await self._source.delete_provider(command)
        await self._anew(command.caller.tenant)

    async def refresh(self, tenant: TenantId, provider_id: str) -> tuple[ProviderView, Difference]:
        """Load a provider's tools again, and say what changed. Raises ToolProviderNotFound."""
        shelf = await self._synced(tenant)
        difference = await shelf.registry.refresh(provider_id)
        return _view(shelf, provider_id), difference

    async def tools(
        self, tenant: TenantId, page: Page, *, provider_id: str = "", category: str = ""
    ) -> Listing[ToolSpec]:
        """A page of tools, by provider and name.

        Raises:
            ToolProviderNotFound: the filter names no provider.
            InvalidField: the cursor is of another list.
        """
        shelf = await self._loaded(tenant)
        if provider_id:
            shelf.registry.enrolment(provider_id)
        found = shelf.registry.tools(provider_id=provider_id, category=category)
        return page_of(found, lambda tool: (tool.provider_id, tool.name), page)

    async def close(self) -> None:
        """Close what tenants have registered; calls under way must have ended."""
        own = [
            each.provider
            for shelf in self._shelves.values()
            for each in shelf.registry.enrolments()
            if each.provider.provider_id not in self._shared
        ]
        closing = [*own, *(provider for _, provider in self._retired)]
        self._shelves, self._retired = {}, []
        for provider in closing:
            await provider.close()

    # --- the shelves ---

    async def _loaded(self, tenant: TenantId) -> _Shelf:
        shelf = await self._synced(tenant)
        await shelf.registry.load()
        return shelf

    async def _anew(self, tenant: TenantId) -> _Shelf:
        shelf = self._shelf(tenant)
        shelf.changes += 1
        shelf.fresh_until = float("-inf")
        return await self._loaded(tenant)

    async def _synced(self, tenant: TenantId) -> _Shelf:
        """The tenant's shelf, holding what the store holds."""
        shelf = self._shelf(tenant)
        async with shelf.syncing:
            if self._clock.monotonic() < shelf.fresh_until:
                return shelf
            until, changes = self._clock.monotonic() + self._fresh, shelf.changes
            rows = {row.provider_id: row for row in await self._source.providers(tenant)}
            for provider_id, row in list(shelf.rows.items()):
                if rows.get(provider_id) != row:
                    self._retire(shelf.registry.remove(provider_id))
                    del shelf.rows[provider_id]
            for provider_id in rows.keys() - shelf.rows.keys() - self._shared.keys():
                row = rows[provider_id]
                shelf.registry.add(self._provider(row), offered=row.allowed_tools)
                shelf.rows[provider_id] = row
            if shelf.changes == changes:
                shelf.fresh_until = until
            await self._close_retired()
        return shelf

    def _provider(self, row: ProviderRow) -> ToolProvider:
        """What a row registers. One that the deployment does not let be reached any more must not hold up the rest."""
        try:
            return self._connect(row.provider_id, row.grpc_target)
        except CannotServe as error:
            return ShutProvider(row.provider_id, str(error))

    def _shelf(self, tenant: TenantId) -> _Shelf:
        shelf = self._shelves.get(tenant)
        if shelf is None:
            shelf = self._shelves[tenant] = _Shelf(Registry(clock=self._clock, schemas=self._schemas))
            for provider in self._shared.values():
                shelf.registry.add(provider)
        return shelf

    def _retire(self, provider: ToolProvider) -> None:
        """Keep a removed provider until no call of it can be under way any more."""
        self._retired.append((self._clock.monotonic() + LONGEST_DEADLINE.total_seconds(), provider))

    async def _close_retired(self) -> None:
        now = self._clock.monotonic()
        over = [provider for until, provider in self._retired if until <= now]
        self._retired = [each for each in self._retired if each[0] > now]
        for provider in over:
            await provider.close()

    async def _require_target(self, given: ProviderRow) -> None:
        try:
            probe = self._connect(given.provider_id, given.grpc_target)
        except CannotServe as error:
            raise invalid("provider.grpc_target", str(error)) from error
        await probe.close()

    def _require_own(self, provider_id: str, verb: str) -> None:
        if provider_id in self._shared:
            remedy = "register one of your own under another id"
            raise IllegalTransition("Tool provider", provider_id, "part of the deployment", verb, remedy)


def _view(shelf: _Shelf, provider_id: str) -> ProviderView:
    enrolment = shelf.registry.enrolment(provider_id)
    row = shelf.rows.get(provider_id)
    return ProviderView(
        provider_id=provider_id,
        grpc_target=row.grpc_target if row else "",
        allowed_tools=row.allowed_tools if row else enrolment.offered,
        revision=row.revision if row else 0,
        problem=enrolment.problem,
        refresh_time=enrolment.refresh_time,
    )
