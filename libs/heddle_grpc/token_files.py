"""Bearer tokens in files: what a service shows to another, and may be another one tomorrow.

A token that lives long is found in the end. Who renews it, as Kubernetes does for a Secret or a projected token, puts a
new file in the place of the old one, and restarts nobody.
"""

import re
from datetime import timedelta
from pathlib import Path

from heddle_core.clock import Clock, micros
from heddle_core.errors import CannotServe
from heddle_core.log_lines import LogLines

MOST_TOKEN = 8 << 10
"""Bytes: half of what a server of ours takes as metadata of one call."""

_TOKEN = re.compile(r"[!-~]+")
_YOUNG = micros(timedelta(seconds=1))
"""Microseconds: a file system's stamps are coarser than its writes, so a file this new may change under its stamp."""

_log = LogLines(__name__)


def token_in(setting: str, text: str, where: str) -> str:
    """The one token in `text`, without blanks and line ends around it. Raises CannotServe, which never tells it."""
    token = text.strip()
    if _TOKEN.fullmatch(token) is None or len(token) > MOST_TOKEN:
        problem = f"{where} does not hold one token of visible ASCII characters"
        raise CannotServe(setting, problem, "write the token alone into it, without `Bearer`")
    return token


def read_token(setting: str, path: Path) -> str:
    """The token in the file at `path`, which `setting` names. Reads the disk.

    Raises CannotServe, naming the file and never what stands in it.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CannotServe(setting, f"{path}: {error.strerror}", "check the path and who may read it") from error
    return token_in(setting, content.decode("latin-1"), str(path))


class TokenFile:
    """Gives the token of a file as it stands now: a `TokenSource` that reads again when the file has changed.

    It looks at the file's stamp for each call, which is a system call of about four microseconds and no reading. A file
    that cannot be used any more is told once in the log, and the last good token stays: whoever renews it may be at it.
    """

    def __init__(self, setting: str, path: Path, clock: Clock) -> None:
        """Reads the file. Raises CannotServe where that does not give a token."""
        self._setting = setting
        self._path = path
        self._clock = clock
        self._trouble = ""
        self._stamp = _stamp(path)
        self._token = read_token(setting, path)
        self._forget_if_young()

    def __call__(self) -> str:
        stamp = _stamp(self._path)
        if stamp is None or stamp != self._stamp:
            self._look_again(stamp)
        return self._token

    def _look_again(self, stamp: tuple[int, int, int] | None) -> None:
        try:
            self._token = read_token(self._setting, self._path)
        except CannotServe as error:
            if self._trouble != error.problem:
                _log.warning("a token cannot be read again, the last one stays", problem=str(error))
            self._trouble = error.problem
            self._stamp = None
            return
        self._trouble = ""
        self._stamp = stamp
        self._forget_if_young()

    def _forget_if_young(self) -> None:
        """Read again at the next call what was written just now: the next write might leave the same stamp."""
        if self._stamp is not None and self._clock.now() - self._stamp[0] // 1_000 < _YOUNG:
            self._stamp = None


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """What changes with a file: its time in nanoseconds, its size, and which file it is; None: it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
