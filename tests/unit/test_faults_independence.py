"""The checker of the fault suite imports nothing of the project, nor of the suite that it judges."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKER = Path(__file__).parents[1] / "faults" / "checker"
FILES = sorted(CHECKER.glob("*.py"))
DRIVERS = {"asyncpg"}
"""Of PostgreSQL, to read its rows; SQLite's is in the standard library."""


def imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or ""


def test_there_is_a_checker_to_look_at() -> None:
    assert {"check", "evidence", "rows", "wire"} <= {file.stem for file in FILES}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_imports_the_standard_library_a_driver_and_itself(file: Path) -> None:
    others = [
        name
        for name in imported(file)
        if name.partition(".")[0] not in sys.stdlib_module_names | DRIVERS
        and not f"{name}.".startswith("tests.faults.checker.")
    ]
    assert others == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_it_loads_nothing_by_name_either(file: Path) -> None:
    assert not {"importlib", "runpy", "subprocess"} & {name.partition(".")[0] for name in imported(file)}
