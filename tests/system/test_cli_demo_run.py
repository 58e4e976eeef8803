"""The demonstration, whole, with the scripted model: its own checks decide."""

from pathlib import Path

from tests.kit.cli import heddle


async def test_the_demo_survives_a_kill_in_the_middle_of_the_words(tmp_path: Path) -> None:
    played = await heddle("demo", "--model", "scripted", "--json", cwd=tmp_path)
    assert played.code == 0, played.err
    told = played.json
    assert told["ok"]
    assert len(told["checks"]) == 14
    assert all(each["holds"] for each in told["checks"])
    assert not any(tmp_path.iterdir())  # noqa: ASYNC240 - nothing else runs in this loop
