"""Which tools this process has: the built-in ones, and the providers that tenants register."""

from collections.abc import Sequence

from heddle_core.clock import Clock
from heddle_core.errors import CannotServe
from heddle_grpc.identity_kinds import is_development
from heddle_grpc.settings import ChannelSettings
from heddle_runtime.facade.providers import ProviderSource, ToolProviders
from heddle_runtime.settings import RuntimeSettings
from heddle_runtime.tools.builtin.ask_user import AskUser
from heddle_runtime.tools.builtin.current_time import CurrentTime
from heddle_runtime.tools.builtin.list_files import ListFiles
from heddle_runtime.tools.builtin.provider import BuiltinProvider
from heddle_runtime.tools.builtin.read_file import ReadFile
from heddle_runtime.tools.builtin.sandbox import Sandbox
from heddle_runtime.tools.builtin.tool import BuiltinTool
from heddle_runtime.tools.builtin.write_file import WriteFile
from heddle_runtime.tools.grpc_provider import connect
from heddle_runtime.tools.port import ToolProvider
from heddle_runtime.tools.schema import Schemas
from heddle_runtime.wiring.tool_credentials import check_credentials, reached


def tools_of(
    settings: RuntimeSettings,
    source: ProviderSource,
    schemas: Schemas,
    clock: Clock,
    beside: Sequence[ToolProvider] = (),
) -> ToolProviders:
    """The tools of a runtime: the built-in ones and those of services `beside` it for everybody, and what each tenant
    has registered.

    Raises:
        CannotServe: a credential for tool providers is named by half, or cannot be read.
    """
    check_credentials(settings)

    def reach(provider_id: str, target: str) -> ToolProvider:
        if not is_development(settings) and target not in settings.tools.provider_targets:
            problem = "the deployment does not let tenants reach that address"
            raise CannotServe(f"tool provider {provider_id}", problem, "ask for it in HEDDLE_TOOLS__PROVIDER_TARGETS")
        return reached(provider_id, target, settings.tools.credentials, clock)

    return ToolProviders(source, (builtin_provider(settings, schemas, clock), *beside), reach, clock, schemas)


def provider_beside(provider_id: str, address: str, token: str, clock: Clock) -> ToolProvider:
    """The tools of a service that is served by this very process, at `address`, to whoever shows `token`."""
    return connect(provider_id, ChannelSettings(address=address), clock=clock, token=lambda: token)


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
        from heddle_runtime.tools.builtin.addresses import SystemResolver, networks
        from heddle_runtime.tools.builtin.http_fetch import HttpFetch

        tools.append(HttpFetch(resolver=SystemResolver(), allowed=networks(settings.tools.http_allow)))
    return BuiltinProvider(tools, schemas=schemas)
