"""What is written for people keeps up with what is there: targets, decisions, errors, pages."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from heddle_core import faults, reasons, runtime_errors

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
LINK = re.compile(r"\]\(([^)#\s]+\.md)(?:#[^)]*)?\)")


def families(parent: type[faults.HeddleError]) -> set[type[faults.HeddleError]]:
    return {each for child in parent.__subclasses__() for each in {child, *families(child)}}


def linked_from(page: Path) -> set[Path]:
    return {(page.parent / link).resolve() for link in LINK.findall(page.read_text()) if "://" not in link}


def test_the_help_of_make_lists_every_target() -> None:
    text = (ROOT / "Makefile").read_text()
    targets = {name for line in re.findall(r"^\.PHONY: (.*)$", text, re.MULTILINE) for name in line.split()}
    assert set(re.findall(r"^([a-z][a-z-]*):(?!=)", text, re.MULTILINE)) == targets
    shown = subprocess.run(["make", "help"], cwd=ROOT, check=True, capture_output=True, text=True, timeout=30).stdout
    words = dict(re.findall(r"^  (\S+)\s+(\S.*)$", shown, re.MULTILINE))
    assert set(words) == targets


def test_make_without_a_target_shows_the_help() -> None:
    shown = subprocess.run(["make"], cwd=ROOT, check=True, capture_output=True, text=True, timeout=30).stdout
    assert shown.startswith("Heddle: make TARGET")


def test_every_decision_is_in_the_index_and_numbered_without_gaps() -> None:
    pages = sorted(path for path in (DOCS / "adr").glob("*.md") if path.name != "README.md")
    listed = re.findall(r"^- \[(\d{4}\. .+)\]\((.+\.md)\)$", (DOCS / "adr" / "README.md").read_text(), re.MULTILINE)
    assert listed == [(page.read_text().splitlines()[0].removeprefix("# "), page.name) for page in pages]
    assert [page.name[:4] for page in pages] == [f"{number:04}" for number in range(1, len(pages) + 1)]


@pytest.mark.parametrize("page", sorted((DOCS / "adr").glob("0*.md")), ids=lambda page: page.stem)
def test_a_decision_says_why_what_follows_and_what_else_there_was(page: Path) -> None:
    headings = re.findall(r"^## (.+)$", page.read_text(), re.MULTILINE)
    assert headings == ["Context", "Decision", "Consequences", "Alternatives"]
    assert re.search(r"^Status: (accepted|superseded by \[.+\]\(.+\))$", page.read_text(), re.MULTILINE)


def test_every_error_is_explained() -> None:
    page = (DOCS / "errors.md").read_text()
    told = {kind for kind in families(faults.HeddleError) if kind.__module__.startswith(faults.__name__.split(".")[0])}
    explained = set(re.findall(r"^#{2,3} (\S+)$", page, re.MULTILINE))
    assert runtime_errors.RunNotFound in told
    for kind in told - {each for each in told if each.__subclasses__()}:
        assert (kind.reason if "status" in vars(kind) else kind.__name__) in explained


def test_an_error_links_to_a_place_on_the_page_of_errors() -> None:
    page = (DOCS / "errors.md").read_text()
    assert set(re.findall(r'<a id="([A-Z_]+)">', page)) == set(reasons.all_reasons())


def test_the_page_of_errors_is_what_the_errors_give() -> None:
    command = [sys.executable, ".ci/errors_page.py", "--check"]
    path = f"{ROOT / 'libs'}:{ROOT / 'services'}"
    done = subprocess.run(command, cwd=ROOT, env={"PYTHONPATH": path}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_every_page_can_be_reached_from_the_index() -> None:
    found: set[Path] = set()
    ahead = {DOCS / "index.md"}
    while ahead:
        found |= ahead
        ahead = {page for each in ahead for page in linked_from(each) if page.exists()} - found
    assert set(DOCS.rglob("*.md")) - found == set()


def test_the_architecture_contracts_know_every_package() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    there = {path.parent.name for root in ("libs", "services") for path in (ROOT / root).glob("heddle*/__init__.py")}
    linter = settings["tool"]["importlinter"]
    assert set(linter["root_packages"]) == there
    roots = next(each for each in linter["contracts"] if each["id"] == "roots")
    assert {name for layer in roots["layers"] for name in re.split(r"[ |]+", layer)} == there
    wheel = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    assert {Path(name).name for name in wheel} == there
    assert set(settings["tool"]["ruff"]["lint"]["isort"]["known-first-party"]) == there
