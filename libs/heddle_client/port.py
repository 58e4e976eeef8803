"""The facade of the runtime as Python sees it: the only way from any other service into it.

Its vocabulary is the contract's own messages. There are two implementations, `over_grpc` and `fake`, and one
contract suite for both: tests/contract/test_client_agent_runtime.py.
"""

from collections.abc import AsyncGenerator
from typing import Protocol, Self

from heddle.runtime.v1.agent_runtime_pb2 import (
    CancelRunRequest,
    CancelRunResponse,
    GetSnapshotRequest,
    GetSnapshotResponse,
    ResolveInputRequest,
    ResolveInputResponse,
    StartStreamingTurnRequest,
    StartTurnRequest,
    StartTurnResponse,
)
from heddle.runtime.v1.run_service_pb2 import (
    GetRunRequest,
    GetRunResponse,
    ListRunsRequest,
    ListRunsResponse,
    WaitRunRequest,
    WaitRunResponse,
)
from heddle.runtime.v1.stream_pb2 import StreamFrame
from heddle.runtime.v1.thread_service_pb2 import (
    CreateThreadRequest,
    CreateThreadResponse,
    ListEventsRequest,
    ListEventsResponse,
)

FrameStream = AsyncGenerator[StreamFrame, None]
"""One stream, as one connection carries it. Read and close it in one task, with `contextlib.aclosing`."""


class AgentRuntime(Protocol):
    """What a caller may ask of the runtime. Every method raises errors of `heddle_core.errors` and no other.

    Requests that change something carry a `request_id`: sending the same one again is always safe, and is the
    right thing to do after any UNAVAILABLE.
    """

    def acting_as(self, tenant: str, principal: str) -> Self:
        """The same runtime in the name of another, for a credential with scope `act_as`; this one stays."""
        ...

    async def create_thread(self, request: CreateThreadRequest) -> CreateThreadResponse:
        """Make a thread with a title and labels, for a turn to come. Raises AlreadyExists for an id that is taken."""
        ...

    async def start_turn(self, request: StartTurnRequest) -> StartTurnResponse:
        """Accept a turn. It is on stable storage when this returns."""
        ...

    def stream_turn(self, request: StartStreamingTurnRequest) -> FrameStream:
        """Accept a turn, or join one by its request id, and stream its run until it settles or waits.

        One connection: it ends with `StreamRotated`, `Draining` or `SlowReader` where the server says so.
        `heddle_client.resume.follow_turn` goes on by itself.
        """
        ...

    async def cancel_run(self, request: CancelRunRequest) -> CancelRunResponse:
        """Stop a run and its cascading children, at any state."""
        ...

    async def resolve_input(self, request: ResolveInputRequest) -> ResolveInputResponse:
        """Answer an input, once; or report progress of the work behind it."""
        ...

    async def get_snapshot(self, request: GetSnapshotRequest) -> GetSnapshotResponse:
        """The state of a thread, now or at an earlier sequence."""
        ...

    async def list_events(self, request: ListEventsRequest) -> ListEventsResponse:
        """A page of facts after a cursor, oldest first."""
        ...

    async def get_run(self, request: GetRunRequest) -> GetRunResponse:
        """A run as it stands now."""
        ...

    async def list_runs(self, request: ListRunsRequest) -> ListRunsResponse:
        """A page of runs, newest first."""
        ...

    async def wait_run(self, request: WaitRunRequest) -> WaitRunResponse:
        """Hold the call until a run is terminal or waiting, or `wait_seconds` are over."""
        ...

    def watch_thread(self, thread_id: str, *, after_sequence: int = 0, deltas: bool = True) -> FrameStream:
        """Stream a thread's facts from a cursor, then live; with or without the words being written.

        One connection, as in `stream_turn`; `heddle_client.resume.follow_thread` goes on by itself.
        """
        ...
