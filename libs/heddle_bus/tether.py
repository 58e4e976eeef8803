"""Run as a script between Heddle and its nats-server: notes its own process id, and ties it to its parent's
life.

It replaces itself by the command, so the id and the tie are the command's. A script rather than a
`preexec_fn`, which runs Python in a forked copy of a process with threads, and may hang there. Imports
little: it is on the way up.

    python -I -S tether.py PARENT_PID PID_FILE COMMAND [ARGUMENT...]
"""

import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
"""From linux/prctl.h."""


def main(arguments: list[str]) -> None:
    """Become the command; returns only if the parent is gone already."""
    parent, pid_file, *command = arguments
    if sys.platform == "linux":
        _die_with_parent()
    if os.getppid() != int(parent):
        return
    _write(pid_file, f"{os.getpid()}\n")
    os.execv(command[0], command)  # noqa: S606 - the point of this file


def _die_with_parent() -> None:
    import ctypes

    # SIGTERM, so that the server closes its store; whoever starts next waits for that, and kills if need be.
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)


def _write(path: str, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    main(sys.argv[1:])
