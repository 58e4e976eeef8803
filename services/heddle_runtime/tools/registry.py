"""Where tools come from: the providers, what each serves, and what is wrong with those that do not.

A provider that is down, or serves what cannot be accepted, is marked with its problem; the others, and the server's
start, are not touched by it.
"""

import asyncio
from collections.abc import Collection
from dataclasses import replace
from datetime import timedelta

from heddle_core.clock import Clock, Micros
from heddle_core.errors import AlreadyExists, invalid
from heddle_core.ids import is_id
from heddle_core.runtime_errors import ToolProviderNotFound
from heddle_core.values import value
from heddle_runtime.tools.declarations import problem_of_tools
from heddle_runtime.tools.port import ToolFault, ToolProvider, ToolSpec
from heddle_runtime.tools.schema import Schemas
from heddle_runtime.tools.selection import Selection, Wishes, select

LISTING_DEADLINE = timedelta(seconds=10)
"""For one listing of a provider's tools, all pages."""
FIRST_RETRY = timedelta(seconds=1)
LONGEST_RETRY = timedelta(seconds=60)
MOST_SELECTIONS = 256
"""Selections that are kept until a provider changes: most turns wish for what their agent names."""
"""A provider with a problem is asked again after 1, 2, 4 ... 60 s, when somebody wants tools."""


@value
class Difference:
    """What a refresh found, as names in order."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    """With another description or schema: approvals for threads do not hold for them any more."""


@value
class Enrolment:
    """A provider as it stands."""

    provider: ToolProvider
    offered: tuple[str, ...] = ()
    """Names of the tools to offer; empty: all that it serves."""
    specs: tuple[ToolSpec, ...] = ()
    problem: str = "its tools have not been loaded yet"
    """Why its tools cannot be had, or may be stale; empty if all is well."""
    refresh_time: Micros | None = None
    """When its tools were loaded last."""
    failures: int = 0
    """Loads in a row that failed."""
    retry_at: float = 0.0
    """On the monotonic clock: not before this is it asked again by itself."""

    @property
    def available(self) -> bool:
        """Whether its tools could be loaded, and are as declared."""
        return not self.problem


class Registry:
    """The providers by id, with their tools as loaded last."""

    def __init__(self, *, clock: Clock, schemas: Schemas) -> None:
        self._clock = clock
        self._schemas = schemas
        self._enrolments: dict[str, Enrolment] = {}
        self._loading: dict[str, asyncio.Lock] = {}
        self._selections: dict[tuple[tuple[str, ...], ...], Selection] = {}

    def add(self, provider: ToolProvider, *, offered: Collection[str] = ()) -> None:
        """Enrol `provider`; its tools are loaded by `load` or `refresh`. Raises AlreadyExists, InvalidField."""
        provider_id = provider.provider_id
        if not is_id(provider_id):
            raise invalid("provider.provider_id", "use 1 to 64 of A-Z, a-z, 0-9, _ and -")
        if provider_id in self._enrolments:
            raise AlreadyExists("tool provider", provider_id)
        self._enrolments[provider_id] = Enrolment(provider, tuple(offered))
        self._selections.clear()
        self._loading[provider_id] = asyncio.Lock()

    def remove(self, provider_id: str) -> ToolProvider:
        """Forget a provider, and return it to be closed once its calls have ended. Raises ToolProviderNotFound."""
        provider = self.enrolment(provider_id).provider
        del self._enrolments[provider_id], self._loading[provider_id]
        self._selections.clear()
        return provider

    def enrolment(self, provider_id: str) -> Enrolment:
        """How a provider stands. Raises ToolProviderNotFound."""
        if provider_id not in self._enrolments:
            raise ToolProviderNotFound(provider_id)
        return self._enrolments[provider_id]

    def enrolments(self) -> tuple[Enrolment, ...]:
        """All providers, by id."""
        return tuple(self._enrolments[provider_id] for provider_id in sorted(self._enrolments))

    def tools(self, *, provider_id: str = "", category: str = "") -> tuple[ToolSpec, ...]:
        """The catalogue, by provider and name; empty filters let everything pass."""
        return tuple(
            spec
            for enrolment in self.enrolments()
            for spec in enrolment.specs
            if provider_id in ("", spec.provider_id) and category in ("", spec.category)
        )

    def select(self, wishes: Wishes) -> Selection:
        """The tools of a turn, as loaded last: asks nobody."""
        key = tuple(map(tuple, (wishes.agent, wishes.allow, wishes.deny, wishes.turn, wishes.taken)))
        chosen = self._selections.get(key)
        if chosen is None:
            if len(self._selections) >= MOST_SELECTIONS:
                self._selections.clear()
            chosen = self._selections[key] = select(self.tools(), wishes)
        return chosen

    @property
    def due(self) -> bool:
        """Whether `load` would ask a provider."""
        now = self._clock.monotonic()
        return any(each.problem and each.retry_at <= now for each in self._enrolments.values())

    async def load(self) -> None:
        """Load the tools of every provider that has a problem and whose time to be asked again has come.

        Call it at start and before a selection: it returns at once when all is well. Raises nothing of a provider.
        """
        now = self._clock.monotonic()
        due = [each for each in self._enrolments.values() if each.problem and each.retry_at <= now]
        if due:
            async with asyncio.TaskGroup() as loads:
                for each in due:
                    loads.create_task(self._load_if_due(each.provider.provider_id))

    async def refresh(self, provider_id: str) -> Difference:
        """Load a provider's tools now, whatever its back-off, and say what changed. Raises ToolProviderNotFound."""
        self.enrolment(provider_id)
        async with self._loading[provider_id]:
            return await self._load(provider_id)

    async def close(self) -> None:
        """Close every provider; the first fault is raised when all have been tried."""
        enrolments, self._enrolments = self.enrolments(), {}
        results = await asyncio.gather(*(each.provider.close() for each in enrolments), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _load_if_due(self, provider_id: str) -> None:
        if provider_id not in self._loading:
            return
        async with self._loading[provider_id]:
            # Who waited here may find that the one before it has done the work.
            enrolment = self._enrolments.get(provider_id)
            if enrolment and enrolment.problem and enrolment.retry_at <= self._clock.monotonic():
                await self._load(provider_id)

    async def _load(self, provider_id: str) -> Difference:
        before = self.enrolment(provider_id)
        listed = await _listed(before.provider)
        if self._enrolments.get(provider_id) is not before:
            return Difference()  # removed meanwhile, perhaps added anew: this listing is of the old one
        after = self._judged(before, listed)
        self._enrolments[provider_id] = after
        self._selections.clear()
        return _difference(before.specs, after.specs)

    def _judged(self, before: Enrolment, listed: tuple[ToolSpec, ...] | str) -> Enrolment:
        if isinstance(listed, str):
            # What it served last is kept: a call finds out by itself whether the provider is back.
            return self._failed(before, listed, before.specs)
        problem = problem_of_tools(
            listed, provider_id=before.provider.provider_id, offered=before.offered, schemas=self._schemas
        )
        if problem is not None:
            # What it served last is dropped: it serves something else now, and calls would not mean the same.
            return self._failed(before, problem, ())
        specs = [spec for spec in listed if not before.offered or spec.name in before.offered]
        specs.sort(key=lambda spec: spec.name)
        return replace(before, specs=tuple(specs), problem="", refresh_time=self._clock.now(), failures=0, retry_at=0.0)

    def _failed(self, before: Enrolment, problem: str, specs: tuple[ToolSpec, ...]) -> Enrolment:
        wait = min(FIRST_RETRY * 2 ** min(before.failures, 10), LONGEST_RETRY)
        return replace(
            before,
            specs=specs,
            problem=problem,
            failures=before.failures + 1,
            retry_at=self._clock.monotonic() + wait.total_seconds(),
        )


async def _listed(provider: ToolProvider) -> tuple[ToolSpec, ...] | str:
    """What the provider serves, or in words why it cannot be known."""
    try:
        async with asyncio.timeout(LISTING_DEADLINE.total_seconds()):
            return await provider.list_tools()
    except ToolFault as fault:
        return fault.message
    except TimeoutError:
        return f"it did not list its tools within {LISTING_DEADLINE.total_seconds():.0f} s: check that it runs"
    except Exception as error:  # a provider is a plug-in: whatever it raises is its problem alone
        return f"listing its tools broke it ({type(error).__name__}): mend the provider"


def _difference(before: tuple[ToolSpec, ...], after: tuple[ToolSpec, ...]) -> Difference:
    old = {spec.name: spec.schema_digest for spec in before}
    new = {spec.name: spec.schema_digest for spec in after}
    return Difference(
        added=tuple(sorted(new.keys() - old.keys())),
        removed=tuple(sorted(old.keys() - new.keys())),
        changed=tuple(sorted(name for name in new.keys() & old.keys() if new[name] != old[name])),
    )
