"""Which tools this process has: the built-in ones, and the providers that tenants register."""

from dataclasses import dataclass

from heddle_core.clock import Clock
from heddle_core.errors import ToolProviderNotFound
from heddle_core.ids import TenantId
from heddle_runtime.settings import RuntimeSettings
from heddle_runtime.tools.builtin.addresses import SystemResolver, networks
from heddle_runtime.tools.builtin.ask_user import AskUser
from heddle_runtime.tools.builtin.current_time import CurrentTime
from heddle_runtime.tools.builtin.http_fetch import HttpFetch
from heddle_runtime.tools.builtin.list_files import ListFiles
from heddle_runtime.tools.builtin.provider import BuiltinProvider
from heddle_runtime.tools.builtin.read_file import ReadFile
from heddle_runtime.tools.builtin.sandbox import Sandbox
from heddle_runtime.tools.builtin.tool import BuiltinTool
from heddle_runtime.tools.builtin.write_file import WriteFile
from heddle_runtime.tools.port import ToolProvider
from heddle_runtime.tools.registry import Registry
from heddle_runtime.tools.schema import Schemas
from heddle_runtime.tools.selection import Selection, Wishes


@dataclass(frozen=True, slots=True)
class Tools:
    """The registry as the rest of the runtime asks it."""

    registry: Registry

    async def select(self, tenant: TenantId, wishes: Wishes) -> Selection:
        """The tools that an agent's wishes give."""
        await self.registry.load()
        return self.registry.select(wishes)

    def provider(self, tenant: TenantId, provider_id: str) -> ToolProvider | None:
        """The provider of that id, or None if it is gone."""
        try:
            return self.registry.enrolment(provider_id).provider
        except ToolProviderNotFound:
            return None


async def tools_of(settings: RuntimeSettings, schemas: Schemas, clock: Clock) -> Tools:
    """The tools of a runtime, loaded."""
    registry = Registry(clock=clock, schemas=schemas)
    registry.add(builtin_provider(settings, schemas, clock))
    await registry.load()
    return Tools(registry)


def builtin_provider(settings: RuntimeSettings, schemas: Schemas, clock: Clock) -> BuiltinProvider:
    """The tools inside the runtime, as the settings allow them."""
    root = settings.tools.sandbox or settings.data_dir / "sandbox"
    root.mkdir(parents=True, exist_ok=True)
    sandbox = Sandbox(root)
    tools: list[BuiltinTool] = [
        AskUser(schemas),
        CurrentTime(clock),
        ReadFile(sandbox),
        WriteFile(sandbox),
        ListFiles(sandbox),
    ]
    if settings.tools.http_fetch:
        tools.append(HttpFetch(resolver=SystemResolver(), allowed=networks(settings.tools.http_allow)))
    return BuiltinProvider(tools, schemas=schemas)
