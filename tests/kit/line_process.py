"""A process beside the tests that answers each line with a line, as those do that fork runtimes."""

import json
import subprocess
import sys
from collections.abc import Mapping


class LineProcess:
    """`python -m module`, which says "ready" first. Closed with `close`."""

    def __init__(self, module: str, environment: Mapping[str, str]) -> None:
        self._module = module
        self._process = subprocess.Popen(
            [sys.executable, "-m", module],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._answer() == "ready"

    def ask(self, question: Mapping[str, object]) -> str:
        """The answer to a question, which goes there as one line of JSON."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self, within: float) -> None:
        """End its input, and wait for so many seconds until it ends by itself."""
        self._process.communicate(timeout=within)

    def _answer(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"{self._module} has ended: its own error stands above"
        return line.strip()
