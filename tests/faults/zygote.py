"""`python -m tests.faults.zygote`: has imported the runtime and its model adapter, and forks a server for each line.

A start then costs what the runtime itself does, without the seconds of importing. What is forked has no thread, no loop
and no connection yet. A line is a JSON object: `environment`, the variables of the server; `said`, a pipe's path for
what it prints; `log`, a file for its standard error. The answer is its process id; the input's end ends the zygote.
"""

import json
import os
import signal
import sys
import traceback
from pathlib import Path

import heddle_runtime.__main__  # noqa: F401
from tests.faults import programs, wrong_clock


def preload() -> None:
    """Import what the runtime imports at its first model call and first migration."""
    import httpx2  # noqa: F401
    import openai  # noqa: F401
    import pydantic_ai.direct
    import pydantic_ai.models.openai
    import pydantic_ai.providers.openai_compatible  # noqa: F401


def serve(environment: dict[str, str], said: str, log: str) -> int:
    """Be the server; its exit code."""
    os.environ.update(environment)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDONLY)
    errors = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    pipe = os.open(said, os.O_WRONLY)
    for source, target in ((nothing, 0), (pipe, 1), (errors, 2)):
        os.dup2(source, target)
        os.close(source)
    if wrong_clock.VARIABLE in environment:
        wrong_clock.be_wrong(Path(environment[wrong_clock.VARIABLE]))
    return programs.be(environment)


def run() -> None:
    """Fork a server for each line, until the input ends."""
    preload()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead are buried at once
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        asked = json.loads(line)
        programs.preload(asked["environment"])
        child = os.fork()
        if child == 0:
            code = 70
            try:
                code = serve(**asked)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(code)
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    run()
