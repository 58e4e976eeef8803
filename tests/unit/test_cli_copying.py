"""Commands that work on a database itself: which one is meant, and how a refusal is told."""

import json
import shlex
from pathlib import Path

import pytest

from heddle_cli.copying import place_of
from heddle_cli.root import build
from heddle_runtime.maintenance.databases import Place


def heddle(line: str) -> int:
    """Run a command in this process; its exit code."""
    try:
        code: int | None = build()(shlex.split(line), prog_name="heddle", standalone_mode=False)
    except SystemExit as left:
        return int(left.code or 0)
    except Exception as wrong:  # typer's own, for wrong usage
        assert type(wrong).__name__ in ("BadParameter", "NoArgsIsHelpError"), wrong
        return 2
    return code or 0


def test_an_option_wins_over_the_environment_and_two_options_are_one_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    assert place_of("", "") == Place(Path(".heddle"))
    assert place_of("", "postgresql://h/n") == Place(url="postgresql://h/n")
    with pytest.raises(Exception, match="leave one out"):
        place_of("here", "postgresql://h/n")
    with pytest.raises(Exception, match="name the database"):
        place_of("", "", default="")
    monkeypatch.setenv("HEDDLE_DATABASE", "postgresql://h/n")
    assert place_of("here", "postgresql://h/n") == Place(Path("here"))


@pytest.mark.parametrize("command", ["verify", "dump --to {0}/x", "backup --to {0}/x"])
def test_a_database_that_is_not_there_is_told_with_a_remedy(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert heddle(f"{command.format(tmp_path)} --data-dir {tmp_path}/no") == 3
    told = capsys.readouterr().err
    assert "missing" in told and "what to do: name the folder" in told


@pytest.mark.parametrize("command", ["load", "restore"])
def test_a_file_that_is_no_copy_is_refused_and_leaves_nothing(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "text").write_text("no dump")
    assert heddle(f"--json {command} {tmp_path}/text --data-dir {tmp_path}/new") == 3
    assert "damaged" in json.loads(capsys.readouterr().err)["error"]["problem"]
    assert not list((tmp_path / "new").glob("heddle.db*")) or not (tmp_path / "new" / "heddle.db").exists()


@pytest.mark.parametrize("line", ["load x.dump", "restore --data-dir {0}", "restore x --epoch-only --data-dir {0}"])
def test_what_is_missing_from_a_line_is_wrong_usage(line: str, tmp_path: Path) -> None:
    assert heddle(line.format(tmp_path)) == 2


def test_a_file_that_cannot_be_opened_is_wrong_usage(tmp_path: Path) -> None:
    assert heddle(f"load {tmp_path}/none --data-dir {tmp_path}/new") == 2
