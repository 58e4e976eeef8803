"""The facade without a server: a small, honest runtime in memory, for tests of whatever calls one.

It keeps the promises that callers build on: lanes, request ids, numbered facts, inputs, cancels, snapshots
that are folds. It has no tools, budgets or limits, and its agents say what a script says. It passes the same
contract suite as a server: tests/contract/test_client_agent_runtime.py.
"""

from typing import Self

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
    TurnDisposition,
    TurnEstimate,
)
from heddle.runtime.v1.call_events_pb2 import WorkUpdated
from heddle.runtime.v1.event_pb2 import ThreadEvent
from heddle.runtime.v1.input_pb2 import InputRequest, InputState
from heddle.runtime.v1.run_pb2 import CancelCause, Run
from heddle.runtime.v1.run_service_pb2 import (
    GetRunRequest,
    GetRunResponse,
    ListRunsRequest,
    ListRunsResponse,
    WaitRunRequest,
    WaitRunResponse,
)
from heddle.runtime.v1.snapshot_pb2 import ThreadSnapshot
from heddle.runtime.v1.thread_service_pb2 import (
    CreateThreadRequest,
    CreateThreadResponse,
    ListEventsRequest,
    ListEventsResponse,
)
from heddle_client.fake_fold import ThreadFold
from heddle_client.fake_script import Script, echo
from heddle_client.fake_state import FakeIdentity, FakeState
from heddle_client.fake_work import is_settled
from heddle_client.port import FrameStream
from heddle_client.transcript_lines import ENDED_STATES, text_of
from heddle_core.clock import Clock, SystemClock
from heddle_core.errors import invalid
from heddle_core.ids import CountingIds, Ids
from heddle_core.runtime_errors import CursorAhead, InputAlreadyResolved, RequestNotFound

_PAGE = 50
_MOST_PAGE = 1_000
_WINDOW = 20
_MOST_WAIT = 60


class FakeRuntime:
    """`heddle_client.port.AgentRuntime` in memory. Views made by `acting_as` share one state."""

    def __init__(
        self,
        script: Script = echo,
        *,
        clock: Clock | None = None,
        ids: Ids | None = None,
        tenant: str = "acme",
        principal: str = "ann",
    ) -> None:
        """`script` says what the agents answer; `tenant` and `principal` are those of the credential."""
        self._state = FakeState(script, clock or SystemClock(), ids or CountingIds())
        self._caller = FakeIdentity(tenant, principal)

    def acting_as(self, tenant: str, principal: str) -> Self:
        """See the port."""
        other = type(self)()
        other._state = self._state
        acted_by = f"{self._caller.tenant}/{self._caller.principal}"
        other._caller = FakeIdentity(tenant, principal, acted_by)
        return other

    def go_on(self, run_id: str) -> None:
        """Beyond the port: let a run go on that its script holds."""
        self._state.thread_of(self._caller, run_id).go_on(run_id)

    def sweep(self) -> None:
        """Beyond the port: start delayed runs whose time has come by the clock."""
        for thread in self._state.threads.values():
            thread.proceed()

    async def create_thread(self, request: CreateThreadRequest) -> CreateThreadResponse:
        """See the port."""
        known = self._state.seen(self._caller, "CreateThread", request.request_id, request, CreateThreadResponse)
        if known is not None:
            return known
        answer = CreateThreadResponse(thread=self._state.create_thread(self._caller, request))
        self._state.keep(self._caller, "CreateThread", request.request_id, request, answer)
        return answer

    async def start_turn(self, request: StartTurnRequest) -> StartTurnResponse:
        """See the port."""
        wait = _wait(request.wait_seconds)
        if request.validate_only:
            return _estimated(request)
        accepted = self._state.accept(self._caller, request)
        thread = self._state.thread_of(self._caller, accepted.run_id)
        thread.proceed()
        await self._settle(accepted.run_id, wait)
        queue = thread.fold.queue
        return StartTurnResponse(
            run=self._run(accepted.run_id),
            disposition=accepted.disposition,
            queue_position=queue.index(accepted.run_id) + 1 if accepted.run_id in queue else 0,
            blocking_input_ids=[each.input_id for each in thread.fold.pending(thread.fold.lane)]
            if accepted.run_id in queue
            else [],
        )

    async def stream_turn(self, request: StartStreamingTurnRequest) -> FrameStream:
        """See the port."""
        joins = request.HasField("after_sequence")
        run_id = self._joined(request) if joins else self._begun(request)
        thread = self._state.thread_of(self._caller, run_id)
        end_on_waiting = request.end_on_waiting or not request.HasField("end_on_waiting")

        def settled() -> bool:
            run = thread.fold.runs[run_id]
            return is_settled(run) if end_on_waiting else run.state in ENDED_STATES

        async for frame in thread.log.stream(
            after=request.after_sequence,
            run_id=run_id,
            begin=thread.proceed,
            unfinished=lambda: thread.unfinished(run_id),
            settled=settled,
        ):
            yield frame

    async def cancel_run(self, request: CancelRunRequest) -> CancelRunResponse:
        """See the port."""
        known = self._state.seen(self._caller, "CancelRun", request.request_id, request, CancelRunResponse)
        if known is not None:
            return known
        answer = CancelRunResponse()
        run_id = self._cancel_target(request)
        if run_id:
            cause = CancelCause.CANCEL_CAUSE_REQUESTED
            answer.cancelled.extend(self._state.cancel(self._caller, run_id, cause, request.note))
            answer.run.CopyFrom(self._run(run_id))
        self._state.keep(self._caller, "CancelRun", request.request_id, request, answer)
        return answer

    async def resolve_input(self, request: ResolveInputRequest) -> ResolveInputResponse:
        """See the port."""
        known = self._state.seen(self._caller, "ResolveInput", request.request_id, request, ResolveInputResponse)
        if known is not None:
            return known
        thread, asked = self._state.input(self._caller, request.input_id)
        if asked.state != InputState.INPUT_STATE_PENDING:
            raise _already(asked)
        match request.WhichOneof("resolution"):
            case "answer":
                thread.resolve(asked, request.answer, self._caller.actor)
            case "progress":
                told = WorkUpdated(
                    work_id=asked.input_id,
                    message=request.progress.message,
                    fraction=request.progress.fraction,
                )
                thread.append(asked.run_id, ThreadEvent(work_updated=told))
            case _:
                raise invalid("resolution", "set answer or progress")
        answer = ResolveInputResponse(input=thread.fold.inputs[asked.input_id], run=self._run(asked.run_id))
        self._state.keep(self._caller, "ResolveInput", request.request_id, request, answer)
        return answer

    async def get_snapshot(self, request: GetSnapshotRequest) -> GetSnapshotResponse:
        """See the port."""
        log = self._state.thread(self._caller, request.thread_id).log
        if request.at_sequence > log.last:
            raise CursorAhead(request.at_sequence, log.last)
        fold = ThreadFold(log.events[: request.at_sequence or log.last])
        whole = fold.snapshot(request.message_window if request.HasField("message_window") else _WINDOW)
        if not request.HasField("read_mask"):
            return GetSnapshotResponse(snapshot=whole)
        part = ThreadSnapshot()
        request.read_mask.MergeMessage(whole, part)
        return GetSnapshotResponse(snapshot=part)

    async def list_events(self, request: ListEventsRequest) -> ListEventsResponse:
        """See the port."""
        log = self._state.thread(self._caller, request.thread_id).log
        after, run_id = request.after_sequence, request.run_id
        await log.until(lambda: bool(log.after(after, run_id)), _wait(request.wait_seconds))
        found = log.after(after, run_id)
        page = found[: _page(request.page_size)]
        cut = len(page) < len(found)
        return ListEventsResponse(
            events=page,
            next_after_sequence=page[-1].sequence if cut else log.last,
            last_sequence=log.last,
        )

    async def get_run(self, request: GetRunRequest) -> GetRunResponse:
        """See the port."""
        return GetRunResponse(run=self._run(request.run_id))

    async def list_runs(self, request: ListRunsRequest) -> ListRunsResponse:
        """See the port."""
        found = [run for run in self._state.runs(self._caller) if _fits(run, request)]
        if request.order_by != "create_time":
            found.reverse()
        begin = int(request.page_token or 0)
        end = begin + _page(request.page_size)
        return ListRunsResponse(runs=found[begin:end], next_page_token=str(end) if end < len(found) else "")

    async def wait_run(self, request: WaitRunRequest) -> WaitRunResponse:
        """See the port."""
        await self._settle(request.run_id, _wait(request.wait_seconds))
        return WaitRunResponse(run=self._run(request.run_id))

    async def watch_thread(self, thread_id: str, *, after_sequence: int = 0, deltas: bool = True) -> FrameStream:
        """See the port."""
        thread = self._state.thread(self._caller, thread_id)
        async for frame in thread.log.stream(
            after=after_sequence, deltas=deltas, unfinished=thread.unfinished, settled=lambda: False
        ):
            yield frame

    def _run(self, run_id: str) -> Run:
        return self._state.run(self._caller, run_id)

    def _begun(self, request: StartStreamingTurnRequest) -> str:
        start = StartTurnRequest(
            request_id=request.request_id,
            thread_id=request.thread_id,
            create_if_missing=request.create_if_missing,
            turn=request.turn if request.HasField("turn") else None,
            etag=request.etag,
        )
        return self._state.accept(self._caller, start).run_id

    def _joined(self, request: StartStreamingTurnRequest) -> str:
        run_id = self._state.run_of_request(self._caller, request.request_id)
        if run_id is None:
            raise RequestNotFound(request.request_id)
        return run_id

    def _cancel_target(self, request: CancelRunRequest) -> str:
        """The run to cancel; empty when there is none yet, or none at work."""
        match request.WhichOneof("target"):
            case "run_id":
                return self._run(request.run_id).run_id
            case "thread_id":
                return self._state.thread(self._caller, request.thread_id).fold.lane
            case "turn_request_id":
                run_id = self._state.run_of_request(self._caller, request.turn_request_id)
                if run_id is None:
                    self._state.bury(self._caller, request.turn_request_id)
                return run_id or ""
            case _:
                raise invalid("target", "set run_id, turn_request_id or thread_id")

    async def _settle(self, run_id: str, seconds: int) -> None:
        thread = self._state.thread_of(self._caller, run_id)
        await thread.log.until(lambda: is_settled(thread.fold.runs[run_id]), seconds)


def _estimated(request: StartTurnRequest) -> StartTurnResponse:
    said = text_of(request.turn.content)
    estimate = TurnEstimate(
        agent=request.turn.agent,
        model=request.turn.model or "scripted",
        tools=[each.name for each in request.turn.client_tools],
        input_tokens=(len(said) + 3) // 4,
        limits=request.turn.limits,
    )
    return StartTurnResponse(disposition=TurnDisposition.TURN_DISPOSITION_VALIDATED, estimate=estimate)


def _already(asked: InputRequest) -> InputAlreadyResolved:
    state = InputState.Name(asked.state).removeprefix("INPUT_STATE_")
    return InputAlreadyResolved(asked.input_id, state, asked.resolved_by.principal or "the runtime")


def _fits(run: Run, request: ListRunsRequest) -> bool:
    return (
        request.thread_id in ("", run.thread_id)
        and (not request.states or run.state in request.states)
        and request.parent_run_id in ("", run.parent_run_id)
        and request.agent_id in ("", run.agent.agent_id)
        and all(run.labels.get(key) == value for key, value in request.labels.items())
    )


def _page(size: int) -> int:
    if not 0 <= size <= _MOST_PAGE:
        raise invalid("page_size", f"must be 1 to {_MOST_PAGE}, or 0 for {_PAGE}")
    return size or _PAGE


def _wait(seconds: int) -> int:
    if not 0 <= seconds <= _MOST_WAIT:
        raise invalid("wait_seconds", f"must be 0 to {_MOST_WAIT}")
    return seconds
