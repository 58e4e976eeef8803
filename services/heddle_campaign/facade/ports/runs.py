"""The runtime, as the campaign service needs it: in the name of a campaign's creator."""

from collections.abc import AsyncGenerator, Callable
from typing import Protocol

from heddle_client.values import FactPage, Forecast, NewThread, NewTurn, RunView
from heddle_core.requests import Creator


class Runs(Protocol):
    """The runtime in one principal's name; `heddle_client.runs.Runs` fulfils it."""

    async def open_thread(self, thread: NewThread) -> None:
        """Make a thread for a turn to come; one of that id is left as it is."""
        ...

    async def start(self, prepared: bytes) -> RunView:
        """Start a turn that was prepared; a repeat gives the same run."""
        ...

    async def forecast(self, turn: NewTurn) -> Forecast:
        """What a turn would run. Raises AgentNotFound, ModelNotFound, InvalidField."""
        ...

    async def cancel(self, run_id: str, *, request_id: str, note: str = "") -> None:
        """Stop a run and its cascading children."""
        ...

    async def cancel_start(self, turn_request_id: str, *, request_id: str, note: str = "") -> RunView | None:
        """Stop the run of a turn's request; None: it never will start one."""
        ...

    async def get(self, run_id: str) -> RunView:
        """A run. Raises RunNotFound."""
        ...

    async def facts(self, thread_id: str, *, run_id: str, after: int, most: int = 500) -> FactPage:
        """Events of a run after a cursor. Raises ThreadNotFound."""
        ...

    def heads(self, thread_id: str, *, after: int) -> AsyncGenerator[int, None]:
        """Sequences of a thread's newest facts, as they are written."""
        ...


RunsOf = Callable[[Creator], Runs]
"""The runtime in the name of a campaign's creator."""

Prepare = Callable[[NewTurn], bytes]
"""Brings a turn into the form in which it is kept until it is sent, and sent again."""
