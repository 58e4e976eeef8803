"""The house's own checks find what they are for."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]
CHECKS = ROOT / ".ci"


@pytest.fixture(autouse=True)
def scripts_can_import_each_other() -> Iterator[None]:
    before = list(sys.path)
    sys.path.insert(0, str(CHECKS))
    yield
    sys.path[:] = before


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"house_{name}", CHECKS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LISTED = """\
:env:.index-url='https://env.example/simple'
global.extra-index-url='https://a.example/simple\\nhttps://b.example/simple'
global.index-url='https://global.example/simple'
global.timeout='60'
install.index-url='https://install.example/simple'
install.find-links='wheels more-wheels'
list.format='columns'
"""


def test_uv_is_told_what_pip_was_told() -> None:
    settings = script("pip_settings")
    assert settings.for_uv(settings.parse(LISTED)) == {
        "UV_DEFAULT_INDEX": "https://env.example/simple",
        "UV_INDEX": "https://a.example/simple https://b.example/simple",
        "UV_FIND_LINKS": "wheels,more-wheels",
        "UV_HTTP_TIMEOUT": "60",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_NO_CONFIG": "1",
    }


def test_uv_keeps_its_own_sources_where_pip_has_none() -> None:
    settings = script("pip_settings")
    assert settings.for_uv(settings.parse("global.disable-pip-version-check='1'\n")) == {}


@pytest.mark.parametrize("line", ["global.no-index='1'", "global.index-url='https://ana:****@example.com/simple'"])
def test_pip_works_alone_where_uv_cannot_be_told(line: str) -> None:
    settings = script("pip_settings")
    with pytest.raises(settings.NotForUv):
        settings.for_uv(settings.parse(f"{line}\n"))


@pytest.mark.parametrize(
    "line",
    [
        "# TO" + "DO later",
        "FIX" + "ME",
        "see /ro" + "ot/notes.txt",
        "cd /ho" + "me/ana/heddle",
        "--index-url " + "https://packages.example/simple",
    ],
)
def test_a_word_that_must_not_be_there_is_found(line: str) -> None:
    assert any(rule.search(line) for rule in script("texts").RULES.values())


@pytest.mark.parametrize("line", ["https://example.com/home/ana", "RequestTodo", "WORKDIR /app", "/var/lib/heddle"])
def test_an_innocent_word_is_left_alone(line: str) -> None:
    assert not any(rule.search(line) for rule in script("texts").RULES.values())


def test_links_in_code_and_to_elsewhere_are_not_asked_for(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        '[a](a.md) `[b](b.md)` [c](https://example.com) [d](d.md#part "title")\n\n```\n[e](e.md)\n```\n[f](#here)\n'
    )
    assert script("links").links(page) == ["a.md", "d.md#part", "#here"]


def test_headings_are_spelt_as_forges_spell_them(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text('# What `make check` does\n\n## One, two: three\n\n<a id="RUN_NOT_FOUND"></a>\n')
    assert script("links").anchors(page) == {"what-make-check-does", "one-two-three", "RUN_NOT_FOUND"}


def test_only_what_people_wrote_is_counted() -> None:
    lines = script("lines")
    assert lines.is_ours(Path("libs/heddle_core/errors.py"))
    assert lines.is_ours(Path("proto/heddle/runtime/v1/event.proto"))
    assert not lines.is_ours(Path("libs/heddle/runtime/v1/event_pb2.py"))
    assert not lines.is_ours(Path("docs/errors.md"))
