"""Shows that the breaking check bites, on a copy of the contract: the tree itself must never break it."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
USAGE = Path("proto/heddle/common/v1/usage.proto")
UNSERVED = Path("proto/heddle/workflow/v1alpha1/execution.proto")

Check = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the contract in which nothing has been released."""
    for folder in (".ci", "proto", "third_party"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    (tmp_path / "proto" / "baseline.binpb").write_bytes(b"")
    (tmp_path / "proto" / "baseline.version").write_text("none\n")
    (tmp_path / "CHANGELOG.md").write_text("# Changelog\n\n## Unreleased\n")
    return tmp_path


@pytest.fixture
def check(tree: Path) -> Check:
    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, tree / ".ci" / "breaking.py", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    return run


@pytest.fixture
def released(tree: Path, check: Check) -> Path:
    """The same copy after release 0.1.0."""
    _release(tree, "0.1.0")
    assert check("--renew").returncode == 0
    return tree


def test_before_the_first_release_nothing_can_break(check: Check) -> None:
    assert check().returncode == 0


def test_a_baseline_is_not_made_before_a_release_is_named(check: Check) -> None:
    renewed = check("--renew")
    assert renewed.returncode == 1
    assert "CHANGELOG.md" in renewed.stderr


def test_a_release_that_leaves_the_baseline_behind_is_refused(tree: Path, check: Check) -> None:
    _release(tree, "0.1.0")
    refused = check()
    assert refused.returncode == 1
    assert "--renew" in refused.stderr


def test_a_released_contract_that_did_not_change_passes(released: Path, check: Check) -> None:
    assert (released / "proto" / "baseline.version").read_text() == "0.1.0\n"
    assert check().returncode == 0


@pytest.mark.parametrize("arguments", [(), ("--renew",)], ids=["compared", "renewed"])
def test_a_changed_field_type_is_refused(released: Path, check: Check, arguments: tuple[str, ...]) -> None:
    _edit(released / USAGE, "int64 input_tokens = 1", "int32 input_tokens = 1")
    refused = check(*arguments)
    assert refused.returncode != 0
    assert 'changed type from "int64" to "int32"' in refused.stdout + refused.stderr


def test_a_removed_file_is_refused(released: Path, check: Check) -> None:
    (released / "proto/heddle/common/v1/error_reason.proto").unlink()
    assert check().returncode != 0


def test_an_added_field_passes(released: Path, check: Check) -> None:
    _edit(released / USAGE, "message Usage {", "message Usage {\n  // New.\n  int64 added = 99;")
    assert check().returncode == 0


def test_a_package_that_is_not_served_yet_may_change(released: Path, check: Check) -> None:
    _edit(released / UNSERVED, "string processor = 2", "int64 processor = 2")
    assert check().returncode == 0


def test_a_second_release_needs_its_own_baseline(released: Path, check: Check) -> None:
    _release(released, "0.2.0")
    assert check().returncode == 1
    assert check("--renew").returncode == 0
    assert check().returncode == 0


def _release(tree: Path, version: str) -> None:
    changelog = tree / "CHANGELOG.md"
    _edit(changelog, "## Unreleased\n", f"## Unreleased\n\n## {version} - 2026-12-01\n")


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
