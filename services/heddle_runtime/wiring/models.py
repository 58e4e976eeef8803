"""Which models this process has: from settings, and from the variables in which providers' keys usually stand."""

import os
from collections.abc import Mapping
from pathlib import Path

from pydantic import SecretStr

from heddle_core.ids import Ids
from heddle_core.usage import MicroUsd
from heddle_core.values import value
from heddle_runtime.models.catalogue import Catalogue, CatalogueSettings, CompatibleServer, ProviderAccess
from heddle_runtime.models.port import Model, ModelUsage
from heddle_runtime.settings import RuntimeSettings

_PACKAGED = Path(__file__).parents[1] / "scenarios"
SHIPPED_SCENARIOS = _PACKAGED if _PACKAGED.is_dir() else Path(__file__).parents[3] / "examples" / "scenarios"
"""The wheel carries the scenarios inside the package; a checkout has them among its examples."""


@value
class Models:
    """The catalogue as the rest of the runtime asks it."""

    catalogue: Catalogue

    def open(self, name: str) -> Model:
        """The model of that name. Raises ModelFault or ModelNotFound."""
        return self.catalogue.open(name)

    def require(self, model: str) -> None:
        """Raise ModelNotFound unless the model is known here."""
        self.catalogue.describe(model)

    def cost(self, name: str, answered: str, usage: ModelUsage) -> MicroUsd:
        """What a reply costs; zero where no price is known."""
        price = self.catalogue.price_of(name, answered)
        return MicroUsd(price.cost_of(usage) if price else 0)


def models_of(settings: RuntimeSettings, ids: Ids) -> tuple[Models, str]:
    """The models, and the name of the default one."""
    folders = [*settings.models.scenario_folders, SHIPPED_SCENARIOS]
    default = settings.model
    provider, _, rest = default.partition(":")
    if provider == "scripted" and rest.endswith((".yaml", ".yml")):
        file = Path(rest)
        folders.insert(0, file.parent)
        default = f"scripted:{file.stem}"
    given = settings.models
    catalogue = Catalogue(
        CatalogueSettings(
            scenario_folders=tuple(folders),
            openai=_access(given.openai_api_key, given.openai_base_url, "OPENAI_API_KEY"),
            anthropic=_access(given.anthropic_api_key, given.anthropic_base_url, "ANTHROPIC_API_KEY"),
            google=_access(given.google_api_key, given.google_base_url, "GEMINI_API_KEY", "GOOGLE_API_KEY"),
            compatible=_servers(given.compatible, given.compatible_api_keys),
            local_threads=given.local_threads,
        ),
        ids,
    )
    return Models(catalogue), default


def _access(key: SecretStr | None, base_url: str | None, *variables: str) -> ProviderAccess | None:
    found = key.get_secret_value() if key else next((os.environ[each] for each in variables if each in os.environ), "")
    return ProviderAccess(found, base_url) if found else None


def _servers(urls: Mapping[str, str], keys: Mapping[str, SecretStr]) -> tuple[CompatibleServer, ...]:
    return tuple(
        CompatibleServer(alias, url, keys[alias].get_secret_value() if alias in keys else None)
        for alias, url in urls.items()
    )
