"""Runs for services that start them and follow them: the facade and the read-only RPCs in plain values.

What another service may not do is not here: it opens threads, starts turns, cancels, answers inputs and reads, and
nothing else.
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import timedelta
from typing import Self

from google.protobuf.duration_pb2 import Duration
from google.type.money_pb2 import Money

from heddle.common.v1 import content_pb2, usage_pb2
from heddle.runtime.v1 import agent_runtime_pb2, event_pb2, input_pb2, run_pb2, run_service_pb2, turn_pb2
from heddle.runtime.v1.thread_pb2 import ThreadSettings
from heddle.runtime.v1.thread_service_pb2 import CreateThreadRequest, ListEventsRequest
from heddle_client import values as v
from heddle_client.port import AgentRuntime
from heddle_client.resume import follow_thread
from heddle_core.clock import MICROS_PER_SECOND, Micros
from heddle_core.errors import AlreadyExists, RequestIdReused
from heddle_core.usage import MicroUsd, Usage
from heddle_core.values import value

_NANOS_PER_MICRO = 1_000


@value
class Runs:
    """A runtime in somebody's name. All methods raise errors of `heddle_core.errors`."""

    runtime: AgentRuntime

    def acting_as(self, tenant: str, principal: str) -> Self:
        """The same in the name of another; needs the scope `act_as`."""
        return type(self)(self.runtime.acting_as(tenant, principal))

    async def open_thread(self, thread: v.NewThread) -> None:
        """Make a thread for a turn to come; one of that id is left as it is."""
        settings = ThreadSettings(title=thread.title, labels=dict(thread.labels))
        request = CreateThreadRequest(request_id=thread.request_id, thread_id=thread.thread_id, settings=settings)
        try:
            await self.runtime.create_thread(request)
        except (AlreadyExists, RequestIdReused):
            # It was made before, perhaps under another title.
            return

    async def start(self, prepared: bytes) -> v.RunView:
        """Start a turn that `prepare` has made; a repeat gives the run that the first has started."""
        request = agent_runtime_pb2.StartTurnRequest.FromString(prepared)
        return run_view((await self.runtime.start_turn(request)).run)

    async def forecast(self, turn: v.NewTurn) -> v.Forecast:
        """What a turn would run; nothing is started, and its parent is not looked at.

        Raises:
            AgentNotFound, ModelNotFound, InvalidField.
        """
        request = _start_request(turn)
        request.validate_only = True
        request.turn.ClearField("parent")
        would = (await self.runtime.start_turn(request)).estimate
        return v.Forecast(would.agent.agent_id, would.agent.version, tuple(would.tool_paths))

    async def cancel(self, run_id: str, *, request_id: str, note: str = "") -> None:
        """Stop a run and its cascading children."""
        request = agent_runtime_pb2.CancelRunRequest(request_id=request_id, run_id=run_id, note=note)
        await self.runtime.cancel_run(request)

    async def cancel_start(self, turn_request_id: str, *, request_id: str, note: str = "") -> v.RunView | None:
        """Stop the run that a turn's request started; None: it had not arrived, and never will start a run."""
        request = agent_runtime_pb2.CancelRunRequest(request_id=request_id, turn_request_id=turn_request_id, note=note)
        answer = await self.runtime.cancel_run(request)
        return run_view(answer.run) if answer.HasField("run") else None

    async def answer(
        self, input_id: str, parts: v.Parts, *, request_id: str, is_error: bool = False, token: str = ""
    ) -> None:
        """Give the result of a deferred call. `token` is the secret that came with the call, if one did."""
        answer = input_pb2.InputAnswer(content=[part_message(part) for part in parts], is_error=is_error)
        await self._resolve(request_id=request_id, input_id=input_id, resolution_token=token, answer=answer)

    async def report(self, input_id: str, message: str, fraction: float, *, request_id: str, token: str = "") -> None:
        """Say how far the work behind an input is; the input stays pending."""
        progress = input_pb2.InputProgress(fraction=fraction, message=message)
        await self._resolve(request_id=request_id, input_id=input_id, resolution_token=token, progress=progress)

    async def get(self, run_id: str) -> v.RunView:
        """A run as it stands now. Raises RunNotFound."""
        return run_view((await self.runtime.get_run(run_service_pb2.GetRunRequest(run_id=run_id))).run)

    async def open_children(self, run_id: str, *, most: int = 1_000) -> tuple[v.RunView, ...]:
        """Children of a run that have not ended."""
        states = [run_pb2.RunState.ValueType(state) for state in v.RunState if not state.terminal]
        request = run_service_pb2.ListRunsRequest(page_size=most, parent_run_id=run_id, states=states)
        return tuple(run_view(run) for run in (await self.runtime.list_runs(request)).runs)

    async def facts(self, thread_id: str, *, run_id: str, after: int, most: int = 500) -> v.FactPage:
        """Events of one run after a cursor, oldest first. Raises ThreadNotFound."""
        request = ListEventsRequest(thread_id=thread_id, run_id=run_id, after_sequence=after, page_size=most)
        page = await self.runtime.list_events(request)
        return v.FactPage(tuple(_fact(event) for event in page.events), page.next_after_sequence, page.last_sequence)

    async def tools_allowed(self, run: v.RunView) -> tuple[str, ...]:
        """The tools that a run is narrowed to by its turn, as patterns; empty: all that its agent has."""
        request = ListEventsRequest(
            thread_id=run.thread_id, run_id=run.run_id, after_sequence=run.request_sequence - 1, page_size=1
        )
        for event in (await self.runtime.list_events(request)).events:
            return tuple(event.turn_requested.turn.allowed_tools)
        return ()

    async def heads(self, thread_id: str, *, after: int) -> AsyncGenerator[int, None]:
        """Sequences of a thread's newest facts as they are written, for ever: a doorbell.

        Raises ServiceUnreachable when the runtime is away for long, CursorAhead after a restore.
        """
        frames = follow_thread(self.runtime, thread_id, after_sequence=after, deltas=False)
        async with aclosing(frames):
            async for frame in frames:
                if frame.WhichOneof("frame") == "events":
                    yield frame.events.events[-1].sequence

    async def _resolve(self, **fields: object) -> None:
        request = agent_runtime_pb2.ResolveInputRequest(**fields)  # pyright: ignore[reportArgumentType]
        await self.runtime.resolve_input(request)


def prepare(turn: v.NewTurn) -> bytes:
    """The request that starts a turn, in the form in which it is kept until it is sent, and sent again."""
    return _start_request(turn).SerializeToString(deterministic=True)


# --- to the contract -------------------------------------------------------------------------------------


def _start_request(turn: v.NewTurn) -> agent_runtime_pb2.StartTurnRequest:
    return agent_runtime_pb2.StartTurnRequest(
        request_id=turn.request_id,
        thread_id=turn.thread_id,
        turn=turn_pb2.Turn(
            content=[part_message(part) for part in turn.content],
            agent=_agent(turn),
            context=[
                turn_pb2.ContextItem(item_id=each.item_id, kind=each.kind, text=each.text, source=each.source)
                for each in turn.context
            ],
            model=turn.model,
            response_format=turn_pb2.ResponseFormat(json_schema=turn.json_schema) if turn.json_schema else None,
            limits=_limits(turn.limits),
            labels=dict(turn.labels),
            trigger=turn_pb2.Trigger(kind=turn_pb2.TriggerKind.ValueType(turn.cause), reference=turn.cause_id),
            parent=_parent(turn.parent),
            allowed_tools=turn.allowed_tools,
        ),
    )


def _agent(turn: v.NewTurn) -> turn_pb2.AgentReference | None:
    return turn_pb2.AgentReference(agent_id=turn.agent_id, version=turn.agent_version) if turn.agent_id else None


def _parent(parent: v.Parent | None) -> turn_pb2.ParentReference | None:
    if parent is None:
        return None
    return turn_pb2.ParentReference(run_id=parent.run_id, cascade=parent.cascade, budget=_limits(parent.budget))


def _limits(bounds: v.Bounds) -> turn_pb2.Limits | None:
    if bounds == v.UNBOUNDED:
        return None
    return turn_pb2.Limits(
        steps=bounds.steps,
        tokens=bounds.tokens,
        cost=money(bounds.cost_micro_usd) if bounds.cost_micro_usd else None,
        wall_time=_duration(bounds.wall_time) if bounds.wall_time else None,
        tool_calls=bounds.tool_calls,
    )


def _duration(span: timedelta) -> Duration:
    value = Duration()
    value.FromTimedelta(span)
    return value


def money(micro_usd: int) -> Money:
    """Millionths of a US dollar as Money."""
    units, rest = divmod(micro_usd, MICROS_PER_SECOND)
    return Money(currency_code="USD", units=units, nanos=rest * _NANOS_PER_MICRO)


def micro_usd(amount: Money) -> MicroUsd:
    """Money as millionths of a US dollar, finer parts dropped."""
    return MicroUsd(amount.units * MICROS_PER_SECOND + amount.nanos // _NANOS_PER_MICRO)


def part_message(part: v.Part) -> content_pb2.ContentPart:
    """A content part as its message."""
    match part:
        case v.Text():
            return content_pb2.ContentPart(text=part.text)
        case v.Json():
            return content_pb2.ContentPart(json=part.json)
        case v.InlineData():
            inline = content_pb2.InlineData(media_type=part.media_type, data=part.data, name=part.name)
            return content_pb2.ContentPart(inline_data=inline)
        case v.AssetReference():
            asset = content_pb2.AssetReference(asset_id=part.asset_id, media_type=part.media_type, name=part.name)
            return content_pb2.ContentPart(asset=asset)


def usage_message(usage: Usage) -> usage_pb2.Usage:
    """Usage as its message."""
    return usage_pb2.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_input_tokens=usage.cached_input_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        model_calls=usage.model_calls,
        tool_calls=usage.tool_calls,
        cost=money(usage.cost),
    )


# --- from the contract -----------------------------------------------------------------------------------


def part_value(message: content_pb2.ContentPart) -> v.Part:
    """A content part from its message; an unset one is an empty text."""
    match message.WhichOneof("part"):
        case "json":
            return v.Json(message.json)
        case "inline_data":
            inline = message.inline_data
            return v.InlineData(inline.media_type, inline.data, inline.name)
        case "asset":
            return v.AssetReference(message.asset.asset_id, message.asset.media_type, message.asset.name)
        case _:
            return v.Text(message.text)


def usage_value(message: usage_pb2.Usage) -> Usage:
    """Usage from its message."""
    return Usage(
        message.input_tokens,
        message.output_tokens,
        message.cached_input_tokens,
        message.reasoning_tokens,
        message.model_calls,
        message.tool_calls,
        micro_usd(message.cost),
    )


def run_view(run: run_pb2.Run) -> v.RunView:
    """A run from its message."""
    failure = run_pb2.FailureReason.Name(run.failure.reason).removeprefix("FAILURE_REASON_")
    return v.RunView(
        run_id=run.run_id,
        thread_id=run.thread_id,
        state=v.RunState(run.state),
        agent_id=run.agent.agent_id,
        agent_version=run.agent.version,
        parent_run_id=run.parent_run_id,
        root_run_id=run.root_run_id,
        depth=run.depth,
        usage=usage_value(run.usage),
        limits=_bounds(run.limits),
        request_sequence=run.request_sequence,
        parts=tuple(part_value(part) for part in run.result.parts),
        structured_json=run.result.structured_json,
        failure_reason=failure if run.HasField("failure") else "",
        failure_message=run.failure.message,
        cancel_cause=v.CancelCause(run.cancel_cause),
        end_time=Micros(run.end_time.ToMicroseconds()) if run.HasField("end_time") else Micros(0),
    )


def _bounds(limits: turn_pb2.Limits) -> v.Bounds:
    return v.Bounds(
        steps=limits.steps,
        tokens=limits.tokens,
        cost_micro_usd=micro_usd(limits.cost),
        tool_calls=limits.tool_calls,
        wall_time=limits.wall_time.ToTimedelta(),
    )


def _fact(event: event_pb2.ThreadEvent) -> v.RunFact:
    kind = event.WhichOneof("payload") or ""
    match kind:
        case "tool_call_started":
            words = event.tool_call_started.tool
        case "tool_call_progressed":
            words = event.tool_call_progressed.message
        case "work_updated":
            words = event.work_updated.message
        case "input_requested":
            words = event.input_requested.input.prompt
        case _:
            words = ""
    return v.RunFact(event.sequence, kind, words)
