"""Names, prices, reasons, and what is found on this machine; and that none of it loads a provider's library."""

import subprocess
import sys
from pathlib import Path

import pytest

from heddle_core.ids import CountingIds
from heddle_core.runtime_errors import ModelNotFound
from heddle_runtime.models.catalogue import Catalogue, CatalogueSettings, CompatibleServer, ProviderAccess
from heddle_runtime.models.discovery import find_servers, keys_in
from heddle_runtime.models.port import FaultKind, ModelFault, ModelUsage
from heddle_runtime.models.prices import KNOWN, Price, undated
from tests.kit.model_servers import openai_server

SHIPPED = Path(__file__).parents[2] / "examples" / "scenarios"
SERVER = CompatibleServer("box", "http://127.0.0.1:9/v1", models=("tiny",), context_window=2_048)


def catalogue(**changes: object) -> Catalogue:
    return Catalogue(CatalogueSettings(scenario_folders=(SHIPPED,), **changes), CountingIds())  # type: ignore[arg-type]


def test_importing_the_catalogue_loads_no_library_of_a_provider() -> None:
    heavy = ("pydantic_ai", "openai", "anthropic", "google.genai", "httpx", "httpx2", "xllamacpp", "yaml", "pydantic")
    program = (
        "import sys; from heddle_runtime.models import catalogue; from heddle_core.ids import CountingIds;"
        "catalogue.Catalogue(catalogue.CatalogueSettings(), CountingIds()).offered();"
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    told = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert told.stdout.strip() == "[]"


def test_playing_a_scenario_loads_no_library_of_a_provider() -> None:
    program = (
        "import sys; from pathlib import Path; from heddle_runtime.models import catalogue as c;"
        "from heddle_core.ids import CountingIds;"
        f"c.Catalogue(c.CatalogueSettings((Path({str(SHIPPED)!r}),)), CountingIds()).open('scripted:hello');"
        "print([name for name in ('pydantic_ai', 'openai', 'httpx', 'httpx2') if name in sys.modules])"
    )
    told = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert told.stdout.strip() == "[]"


def test_the_offer_names_every_kind_with_its_reason() -> None:
    offered = {each.name: each for each in catalogue(compatible=(SERVER,)).offered()}
    assert {"scripted:hello", "scripted:reference-turn", "local:smollm2", "compatible:box/tiny"} <= offered.keys()
    assert offered["scripted:hello"].usable
    assert not offered["openai:gpt-5-mini"].usable
    assert "OPENAI_API_KEY" in offered["openai:gpt-5-mini"].reason
    assert offered["compatible:box/tiny"].context_window == 2_048


@pytest.mark.parametrize(
    "name",
    ["", "hello", "scripted:", "scripted:gone", "scripted:../hello", "local:other", "openai:", "compatible:x/y", "a:b"],
)
def test_a_name_that_is_none_is_not_found(name: str) -> None:
    with pytest.raises(ModelNotFound):
        catalogue().open(name)


def test_a_model_is_opened_once_and_shared() -> None:
    subject = catalogue()
    assert subject.open("scripted:hello") is subject.open("scripted:hello")


def test_a_model_without_its_key_says_what_to_set() -> None:
    with pytest.raises(ModelFault, match="ANTHROPIC_API_KEY") as raised:
        catalogue().open("anthropic:claude-haiku-4-5")
    assert raised.value.kind is FaultKind.MISCONFIGURED


def test_an_address_that_is_not_configured_is_not_called_unless_allowed() -> None:
    name = "compatible:http://127.0.0.1:1/v1/some/model"
    with pytest.raises(ModelNotFound):
        catalogue(compatible=(SERVER,)).open(name)
    assert catalogue(any_compatible_url=True).describe(name).reason.endswith("http://127.0.0.1:1/v1")
    assert catalogue(compatible=(SERVER,)).describe("compatible:http://127.0.0.1:9/v1/tiny").usable


def test_a_key_never_shows_in_a_representation() -> None:
    settings = CatalogueSettings(
        openai=ProviderAccess("sk-secret"), compatible=(CompatibleServer("a", "b", "sk-other"),)
    )
    assert "sk-" not in repr(settings)


def test_a_call_costs_by_its_tokens_rounded_up() -> None:
    price = Price(input=1_000_000, output=2_000_000, cached_input=100_000)
    assert price.cost_of(ModelUsage(100, 10, 50)) == 50 + 5 + 20
    assert price.cost_of(ModelUsage(1, 0, 1)) == 1
    assert Price(3_000_000, 0).cost_of(ModelUsage(1, 0, 1)) == 3


def test_the_model_that_answered_sets_the_price_and_configuration_wins() -> None:
    subject = catalogue(prices={"openai:gpt-5": Price(7, 7)}, openai=ProviderAccess("k"))
    assert subject.price_of("openai:gpt-5", "gpt-5-2025-08-07") == Price(7, 7)
    assert subject.price_of("openai:gpt-5", "gpt-5-mini-2025-08-07") == KNOWN["openai:gpt-5-mini"].price
    assert subject.price_of("openai:unheard-of") is None
    assert subject.price_of("scripted:hello", "anything") == Price(0, 0)
    assert subject.describe("openai:gpt-5").price_source == "configured"
    assert undated("claude-haiku-4-5-20251001") == "claude-haiku-4-5"


def test_keys_in_the_environment_are_named_and_not_shown() -> None:
    found = keys_in({"OPENAI_API_KEY": "sk-1", "GEMINI_API_KEY": "g", "ANTHROPIC_API_KEY": "  "})
    assert found == {"openai": "OPENAI_API_KEY", "google": "GEMINI_API_KEY"}


async def test_a_running_server_on_loopback_is_found_with_its_models() -> None:
    async with openai_server() as server:
        found = await find_servers({"box": server.port, "nobody": 1})
    assert [(each.alias, each.base_url, each.models) for each in found] == [
        ("box", f"{server.url}/v1", ("fake-1",)),
    ]
