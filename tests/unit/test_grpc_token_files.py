"""A token in a file is the one that stands there now, is read only when the file has changed, and is never told."""

import os
from pathlib import Path

import pytest

from heddle_core.clock import MICROS_PER_SECOND, ManualClock
from heddle_core.errors import CannotServe
from heddle_grpc.token_files import MOST_TOKEN, TokenFile, read_token
from tests.kit.log_capture import capture_logs

WRITTEN = 1_700_000_000
"""When the files of the tests were written, in seconds since the epoch."""
SETTING = "runtime.token_file"


def later(seconds: float) -> ManualClock:
    """A clock that stands so long after the files were written."""
    return ManualClock(round((WRITTEN + seconds) * MICROS_PER_SECOND))


def written(path: Path, text: str, *, second: int = WRITTEN) -> Path:
    """The file itself with another text, stamped with that second."""
    path.write_text(text)
    os.utime(path, (second, second))
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return written(tmp_path / "token", "secret-1\n")


def test_the_line_end_is_no_part_of_the_token(file: Path) -> None:
    assert TokenFile(SETTING, file, later(60))() == "secret-1"
    assert read_token(SETTING, written(file, " secret-2 \r\n\n")) == "secret-2"


def test_a_file_that_is_written_anew_is_read_at_the_next_call(file: Path) -> None:
    token = TokenFile(SETTING, file, later(60))
    written(file, "secret-2", second=WRITTEN + 30)
    assert token() == "secret-2"


def test_a_volume_that_swaps_its_link_is_followed(tmp_path: Path) -> None:
    """So Kubernetes renews a Secret: the link of the whole folder is replaced at once."""
    for name, text in (("first", "secret-1"), ("second", "secret-2")):
        (tmp_path / name).mkdir()
        written(tmp_path / name / "token", text)
    (tmp_path / "current").symlink_to("first")
    (tmp_path / "token").symlink_to("current/token")
    token = TokenFile(SETTING, tmp_path / "token", later(60))
    assert token() == "secret-1"
    (tmp_path / "next").symlink_to("second")
    (tmp_path / "next").rename(tmp_path / "current")
    assert token() == "secret-2"


def test_a_file_that_has_not_changed_is_not_read_again(file: Path) -> None:
    token = TokenFile(SETTING, file, later(60))
    written(file, "secret-2\n")  # under the same stamp, as only a test can
    assert token() == "secret-1"


def test_a_file_that_was_written_just_now_may_change_under_its_stamp_and_is_read_until_it_is_older(file: Path) -> None:
    clock = later(0.2)
    token = TokenFile(SETTING, file, clock)
    assert token() == "secret-1"
    written(file, "secret-2\n")
    assert token() == "secret-2"
    clock.advance(2)
    assert token() == "secret-2"
    written(file, "secret-3\n")
    assert token() == "secret-2"


@pytest.mark.parametrize("spoilt", [None, "", "\n", "two secrets", "sécret-2", "x" * (MOST_TOKEN + 1)])
def test_a_file_that_is_spoilt_is_told_once_and_the_last_token_stays_until_it_is_mended(
    file: Path, spoilt: str | None
) -> None:
    token = TokenFile(SETTING, file, later(60))
    if spoilt is None:
        file.unlink()
    else:
        written(file, spoilt, second=WRITTEN + 1)
    with capture_logs() as lines:
        assert [token() for _ in range(3)] == ["secret-1"] * 3
    assert len(lines) == 1
    assert SETTING in str(lines) and str(file) in str(lines)
    assert "secret" not in str(lines) and "xxx" not in str(lines)
    written(file, "secret-3", second=WRITTEN + 2)
    assert token() == "secret-3"


def test_trouble_that_comes_again_is_told_again(file: Path) -> None:
    token = TokenFile(SETTING, file, later(60))
    with capture_logs() as lines:
        written(file, "", second=WRITTEN + 1)
        token()
        written(file, "secret-2", second=WRITTEN + 2)
        assert token() == "secret-2"
        written(file, "", second=WRITTEN + 3)
        token()
    assert len(lines) == 2


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "No such file.*check the path"),
        ("", "does not hold one token.*write the token alone"),
        ("Bearer secret-1", "does not hold one token.*without `Bearer`"),
    ],
)
def test_a_file_without_a_token_stops_the_start_and_is_not_repeated(
    tmp_path: Path, text: str | None, told: str
) -> None:
    path = tmp_path / "token"
    if text is not None:
        path.write_text(text)
    with pytest.raises(CannotServe, match=rf"{SETTING}.*{told}") as raised:
        TokenFile(SETTING, path, later(60))
    assert "secret" not in str(raised.value)
