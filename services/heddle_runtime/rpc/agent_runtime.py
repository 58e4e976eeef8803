"""AgentRuntime as gRPC sees it: decode, hand to the facade, encode. Nothing is decided here."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Protocol

from heddle.runtime.v1 import agent_runtime_pb2 as pb
from heddle_core.errors import invalid
from heddle_core.ids import InputId, PrincipalId, RequestId, RunId, TenantId, ThreadId
from heddle_core.runtime_errors import RequestNotFound
from heddle_core.values import value
from heddle_grpc.authorization import Access, Rule, authorize
from heddle_grpc.calls import Context, current
from heddle_grpc.paging import ANSWER_BYTES
from heddle_grpc.requests import patience
from heddle_runtime.codec.codec import MAPPING
from heddle_runtime.codec.cuts import cut
from heddle_runtime.codec.views import input_message, run_message, snapshot_message
from heddle_runtime.facade.commands import Accepted, Caller, Cancelled, CancelRuns, Disposition, ResolveInput
from heddle_runtime.facade.controls import Controls
from heddle_runtime.facade.estimates import Estimate, estimate
from heddle_runtime.facade.turns import IncomingTurn, Turns
from heddle_runtime.facade.waiting import Doorbells, wait_run
from heddle_runtime.lanes.ports import Toolbox
from heddle_runtime.rpc.requests import caller, request_key
from heddle_runtime.rpc.scopes import READ, RUN
from heddle_runtime.rpc.watching import RunReads, Watching, run_is_over
from heddle_runtime.runs.inputs import InputAnswer, InputProgress
from heddle_runtime.runs.run import Run
from heddle_runtime.runs.state import RunState
from heddle_runtime.runs.turn import Turn
from heddle_runtime.threads.log import ThreadLog
from heddle_runtime.threads.reading import Reading

NAME = "heddle.runtime.v1.AgentRuntime"

RULES: Mapping[str, Rule] = {
    "StartTurn": RUN,
    "StartStreamingTurn": RUN,
    "CancelRun": RUN,
    "ResolveInput": Access.ANYBODY_KNOWN,
    "GetSnapshot": READ,
}
"""Which scope each RPC asks for. A tool answers its own input with a token instead of a scope (SEMANTICS 2)."""


class TurnReads(RunReads, Protocol):
    """What is read of turns and their runs."""

    async def find_turn(
        self, tenant: TenantId, principal: PrincipalId, request_id: RequestId
    ) -> tuple[RunId, ThreadId] | None:
        """The run that a turn's request started, with its thread."""
        ...


@value
class AgentRuntimeServicer:
    """The five RPCs."""

    turns: Turns
    controls: Controls
    log: ThreadLog
    reads: TurnReads
    watching: Watching
    doorbells: Doorbells
    toolbox: Toolbox

    async def StartTurn(self, request: pb.StartTurnRequest, context: Context) -> pb.StartTurnResponse:
        """Accept a turn."""
        wait = patience(request.wait_seconds)
        asked = self._asked("StartTurn", request)
        if request.validate_only:
            resolved = await self.turns.validate(asked)
            return estimate_response(await estimate(self.toolbox, asked.caller.tenant, resolved))
        accepted = await self.turns.start(asked)
        run = accepted.run
        if request.wait_seconds:
            run = await wait_run(self.reads, self.doorbells, run.tenant, run.run_id, wait)
        return start_response(accepted, run)

    async def StartStreamingTurn(
        self, request: pb.StartStreamingTurnRequest, context: Context
    ) -> AsyncGenerator[bytes]:
        """Accept a turn or join one, and stream its run."""
        over = run_is_over(request.end_on_waiting if request.HasField("end_on_waiting") else True)
        if request.HasField("after_sequence"):
            run = await self._joined(caller(context), RequestId(request.request_id))
        else:
            asked = self._asked("StartStreamingTurn", request)
            tenant, thread_id = asked.caller.tenant, self.turns.thread_id_for(asked)
            with self.watching.followers.join(tenant, thread_id) as follower:
                accepted = await self.turns.start(asked, thread_id)
                run = accepted.run
                if accepted.disposition in (Disposition.STARTED, Disposition.QUEUED):
                    before = run.request_sequence - 1
                    reading = Reading(self.reads, follower, (tenant, thread_id), before, run.run_id)
                    opening = await reading.open(known_head=before)
                    async with aclosing(self.watching.streams.frames(reading, follower, opening, over=over)) as frames:
                        async for frame in frames:
                            yield frame
                    return
        async with aclosing(self.watching.run(run, request.after_sequence, over)) as frames:
            async for frame in frames:
                yield frame

    async def CancelRun(self, request: pb.CancelRunRequest, context: Context) -> pb.CancelRunResponse:
        """Stop a run and its children."""
        if request.WhichOneof("target") is None:
            raise invalid("target", "set run_id, turn_request_id or thread_id")
        command = CancelRuns(
            caller=caller(context),
            key=request_key("CancelRun", request),
            run_ids=(RunId(request.run_id),) if request.run_id else (),
            turn_request_id=RequestId(request.turn_request_id),
            thread_id=ThreadId(request.thread_id),
            note=request.note,
        )
        return cancel_response(await self.controls.cancel(command))

    async def ResolveInput(self, request: pb.ResolveInputRequest, context: Context) -> pb.ResolveInputResponse:
        """Answer an input."""
        if not request.resolution_token:
            authorize(current().identity, RUN, method="ResolveInput")
        has = request.WhichOneof("resolution")
        command = ResolveInput(
            caller=caller(context),
            key=request_key("ResolveInput", request),
            input_id=InputId(request.input_id),
            answer=MAPPING.decode(InputAnswer, request.answer) if has == "answer" else None,
            progress=MAPPING.decode(InputProgress, request.progress) if has == "progress" else None,
        )
        resolved = await self.controls.resolve(command, request.resolution_token)
        return pb.ResolveInputResponse(input=input_message(resolved.input), run=run_message(resolved.run))

    async def GetSnapshot(self, request: pb.GetSnapshotRequest, context: Context) -> pb.GetSnapshotResponse:
        """The state of a thread."""
        tenant, thread_id = caller(context).tenant, ThreadId(request.thread_id)
        if request.at_sequence < 0:
            raise invalid("at_sequence", "zero for now, or a sequence from 1")
        if request.at_sequence:
            fold = await self.log.fold_at(tenant, thread_id, request.at_sequence)
        else:
            fold = await self.log.fold(tenant, thread_id)
        window = request.message_window if request.HasField("message_window") else None
        if window is not None and not 0 <= window <= 100:
            raise invalid("message_window", "0 to 100")
        mask = request.read_mask.paths
        tells_thread = not mask or "thread" in mask or "*" in mask
        first = (await self.reads.log_bounds(tenant, thread_id))[1] if tells_thread else 1
        snapshot = snapshot_message(fold, read_mask=mask, message_window=window, first_sequence=first)
        cut(snapshot, ANSWER_BYTES, f"the events of thread {thread_id}: call ListEvents or ListMessages")
        return pb.GetSnapshotResponse(snapshot=snapshot)

    def _asked(self, method: str, request: pb.StartTurnRequest | pb.StartStreamingTurnRequest) -> IncomingTurn:
        return IncomingTurn(
            caller=caller(),
            key=request_key(method, request),
            turn=MAPPING.decode(Turn, request.turn),
            thread_id=ThreadId(request.thread_id),
            create_if_missing=request.create_if_missing,
            etag=request.etag,
        )

    async def _joined(self, who: Caller, request_id: RequestId) -> Run:
        found = await self.reads.find_turn(who.tenant, who.actor.principal, request_id)
        if found is None:
            raise RequestNotFound(request_id)
        return await self.reads.get_run(who.tenant, found[0])


def start_response(accepted: Accepted, run: Run) -> pb.StartTurnResponse:
    """What became of a turn, as its message."""
    return pb.StartTurnResponse(
        run=run_message(run),
        disposition=pb.TurnDisposition.ValueType(accepted.disposition),
        queue_position=accepted.queue_position if run.state is RunState.QUEUED else 0,
        blocking_input_ids=accepted.blocking_input_ids,
    )


def estimate_response(would: Estimate) -> pb.StartTurnResponse:
    """What would run, as its message."""
    return pb.StartTurnResponse(
        disposition=pb.TURN_DISPOSITION_VALIDATED,
        estimate=pb.TurnEstimate(
            agent=MAPPING.encode(would.agent),
            model=would.model,
            tools=would.tools,
            input_tokens=would.input_tokens,
            limits=MAPPING.encode(would.limits),
            tool_paths=would.tool_paths,
        ),
    )


def cancel_response(done: Cancelled) -> pb.CancelRunResponse:
    """What a cancel has done, as its message."""
    return pb.CancelRunResponse(
        run=run_message(done.run) if done.run else None,
        cancelled=[
            pb.CancelledRun(run_id=each.run_id, thread_id=each.thread_id, cancel_sequence=each.cancel_sequence)
            for each in done.cancelled
        ],
    )
