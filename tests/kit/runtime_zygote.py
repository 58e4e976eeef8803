"""`python -m tests.kit.runtime_zygote`: has imported the runtime, and forks a server of it for each line on its input.

A start then costs what the runtime itself does, without the seconds that Python takes to import it; what is forked has
no thread, no loop and no connection yet. Each line is a JSON object: `settings`, the variables of the server; `said`,
a pipe's path for what it prints; `log`, a file for what it writes to its standard error. The answer is its process id.
"""

import json
import os
import signal
import sys

from heddle_runtime.__main__ import main


def serve(settings: dict[str, str], said: str, log: str) -> int:
    """Be the server; its exit code."""
    os.environ.update(settings)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDONLY)
    errors = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    pipe = os.open(said, os.O_WRONLY)
    for source, target in ((nothing, 0), (pipe, 1), (errors, 2)):
        os.dup2(source, target)
        os.close(source)
    return main()


def run() -> None:
    """Fork a server for each line, until the input ends."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead are buried at once
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            code = 70
            try:
                code = serve(**asked)
            finally:
                os._exit(code)
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    run()
