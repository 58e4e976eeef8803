"""What the fake runtime's agent says: replies as values, chosen by a function of what was said so far."""

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

from heddle.runtime.v1.input_pb2 import InputKind
from heddle.runtime.v1.run_pb2 import FailureReason
from heddle_core.values import value

_WORD = re.compile(r"\s*\S+\s*")


@value
class Call:
    """One tool call in a reply. A tool that the turn declares as the client's becomes an input by itself."""

    tool: str
    arguments_json: str = "{}"
    result: str = ""
    """What the tool returns at once, or after an approval."""
    asks: InputKind.ValueType = InputKind.INPUT_KIND_UNSPECIFIED
    """QUESTION, APPROVAL or EXTERNAL: the run waits for this input. Unspecified: it returns at once."""


@value
class Reply:
    """What the model says in one step."""

    text: str = ""
    reasoning: str = ""
    calls: tuple[Call, ...] = ()
    pieces: int = 0
    """Into how many nearly equal pieces the text is cut. 0: into words."""
    holds: bool = False
    """After its words the model falls silent, until the run is cancelled or the test lets it go on."""
    fails: FailureReason.ValueType = FailureReason.FAILURE_REASON_UNSPECIFIED
    """The run gives up here for this reason."""

    def cut(self) -> Sequence[str]:
        """The text as it is streamed."""
        if self.pieces < 1:
            return _WORD.findall(self.text) or ([self.text] if self.text else [])
        count = min(self.pieces, len(self.text))
        bounds = [len(self.text) * place // count for place in range(count + 1)] if count else [0]
        return [self.text[start:end] for start, end in pairwise(bounds)]


@value
class Exchange:
    """What a reply may depend on."""

    said: str
    """Text of the user's last message of this run, steered ones included."""
    step: int
    """Steps since that message, from 0."""
    results: tuple[str, ...]
    """Results of the run's tool calls, oldest first."""


Script = Callable[[Exchange], Reply]


def echo(exchange: Exchange) -> Reply:
    """The plainest script: says what it was told."""
    return Reply(exchange.said)


def script_of(turns: Mapping[str, Sequence[Reply]]) -> Script:
    """A script of steps for each pattern: the first that is found in the user's text decides.

    Letter case does not matter; the last step repeats. Text that no pattern fits is echoed.
    """
    known = [(re.compile(pattern, re.IGNORECASE), tuple(steps)) for pattern, steps in turns.items()]

    def choose(exchange: Exchange) -> Reply:
        for pattern, steps in known:
            if pattern.search(exchange.said):
                return steps[min(exchange.step, len(steps) - 1)]
        return echo(exchange)

    return choose
