"""RunService as gRPC sees it: decode, hand to the facade, encode. Nothing is decided here."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from heddle.runtime.v1 import agent_runtime_pb2
from heddle.runtime.v1 import run_service_pb2 as pb
from heddle_core.errors import invalid
from heddle_core.ids import RunId, ThreadId
from heddle_core.values import value
from heddle_grpc.authorization import Rule
from heddle_grpc.calls import Context
from heddle_grpc.masks import text_within
from heddle_grpc.paging import order_asked
from heddle_grpc.requests import patience
from heddle_runtime.codec.codec import MAPPING, part_value
from heddle_runtime.codec.mapping import micros, timestamp
from heddle_runtime.codec.views import run_message
from heddle_runtime.facade.commands import CancelRuns
from heddle_runtime.facade.run_commands import ListRuns, QueryUsage, RetryRun
from heddle_runtime.facade.runs import Runs
from heddle_runtime.rpc.paging import page_asked, page_given
from heddle_runtime.rpc.requests import caller, request_key
from heddle_runtime.rpc.scopes import READ, RUN
from heddle_runtime.rpc.watching import Watching, run_is_over
from heddle_runtime.runs.run import Run
from heddle_runtime.runs.state import RunState

NAME = "heddle.runtime.v1.RunService"

RULES: Mapping[str, Rule] = {
    "GetRun": READ,
    "ListRuns": READ,
    "WaitRun": READ,
    "WatchRun": READ,
    "RetryRun": RUN,
    "BatchCancelRuns": RUN,
    "ExplainRun": READ,
    "QueryUsage": READ,
}
"""Which scope each RPC asks for."""

_ORDERS = ("create_time desc", "create_time")


@value
class RunServicer:
    """Runs."""

    runs: Runs
    watching: Watching

    async def GetRun(self, request: pb.GetRunRequest, context: Context) -> pb.GetRunResponse:
        """A run."""
        run = await self.runs.source.get_run(caller(context).tenant, RunId(request.run_id))
        return pb.GetRunResponse(run=run_message(run))

    async def ListRuns(self, request: pb.ListRunsRequest, context: Context) -> pb.ListRunsResponse:
        """A page of runs."""
        tenant = caller(context).tenant
        command = ListRuns(
            tenant=tenant,
            page=page_asked(tenant, request),
            oldest_first=order_asked(request.order_by, _ORDERS) == "create_time",
            thread_id=ThreadId(request.thread_id),
            states=tuple(RunState(state) for state in request.states if state),
            parent_run_id=RunId(request.parent_run_id),
            labels=dict(request.labels),
            agent_id=request.agent_id,
        )
        listing = await self.runs.source.list_runs(command)
        page = page_given(tenant, request, listing, run_message, _reference)
        return pb.ListRunsResponse(runs=page.messages, next_page_token=page.next_page_token)

    async def WaitRun(self, request: pb.WaitRunRequest, context: Context) -> pb.WaitRunResponse:
        """A run once it is terminal or waits."""
        wait = patience(request.wait_seconds)
        run = await self.runs.wait(caller(context).tenant, RunId(request.run_id), wait)
        return pb.WaitRunResponse(run=run_message(run))

    async def WatchRun(self, request: pb.WatchRunRequest, context: Context) -> AsyncGenerator[bytes]:
        """A run from a cursor, until it settles or waits."""
        run = await self.runs.source.get_run(caller(context).tenant, RunId(request.run_id))
        over = run_is_over(request.end_on_waiting if request.HasField("end_on_waiting") else True)
        async with aclosing(self.watching.run(run, request.after_sequence, over)) as frames:
            async for frame in frames:
                yield frame

    async def RetryRun(self, request: pb.RetryRunRequest, context: Context) -> pb.RetryRunResponse:
        """Start the turn of an ended run again."""
        command = RetryRun(
            caller=caller(context),
            key=request_key("RetryRun", request),
            run_id=RunId(request.run_id),
            content=tuple(part_value(part) for part in request.content),
            model=request.model,
        )
        accepted = await self.runs.retry(command)
        disposition = agent_runtime_pb2.TurnDisposition.ValueType(accepted.disposition)
        return pb.RetryRunResponse(run=run_message(accepted.run), disposition=disposition)

    async def BatchCancelRuns(self, request: pb.BatchCancelRunsRequest, context: Context) -> pb.BatchCancelRunsResponse:
        """Cancel many runs."""
        if len(request.run_ids) > 1_000:
            raise invalid("run_ids", f"at most 1,000; these are {len(request.run_ids)}")
        text_within("note", request.note, 1_024)
        command = CancelRuns(
            caller=caller(context),
            key=request_key("BatchCancelRuns", request),
            run_ids=tuple(RunId(each) for each in dict.fromkeys(request.run_ids)),
            note=request.note,
        )
        done = await self.runs.cancel_many(command)
        return pb.BatchCancelRunsResponse(
            cancelled=[
                agent_runtime_pb2.CancelledRun(
                    run_id=each.run_id, thread_id=each.thread_id, cancel_sequence=each.cancel_sequence
                )
                for each in done.cancelled
            ],
            unknown_run_ids=done.unknown,
        )

    async def ExplainRun(self, request: pb.ExplainRunRequest, context: Context) -> pb.ExplainRunResponse:
        """Why a run does not move."""
        why = await self.runs.explain(caller(context).tenant, RunId(request.run_id))
        return pb.ExplainRunResponse(
            run=run_message(why.run),
            explanation=why.sentence,
            blocking_run_id=why.blocking_run_id,
            queue_position=why.queue_position,
            owner_worker_id=why.owner_worker_id,
            lease_expire_time=timestamp(why.lease_until) if why.lease_until is not None else None,
            pending_input_ids=why.pending_inputs,
            quota=why.quota,
        )

    async def QueryUsage(self, request: pb.QueryUsageRequest, context: Context) -> pb.QueryUsageResponse:
        """What runs have used together."""
        command = QueryUsage(
            tenant=caller(context).tenant,
            start_time=micros(request.start_time) if request.HasField("start_time") else None,
            end_time=micros(request.end_time) if request.HasField("end_time") else None,
            thread_id=ThreadId(request.thread_id),
            agent_id=request.agent_id,
        )
        done = await self.runs.source.query_usage(command)
        return pb.QueryUsageResponse(usage=MAPPING.encode(done.usage), runs=done.runs)


def _reference(run: Run) -> str:
    return f"the events of run {run.run_id}: ask for them with ListEvents and include_raw"
