"""A whole runtime in this process, wired as it is served: the test writes the scenario and plays the tools."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from heddle.common.v1.content_pb2 import ContentPart
from heddle.runtime.v1 import agent_pb2, agent_service_pb2, run_service_pb2, tool_provider_service_pb2
from heddle.runtime.v1.agent_runtime_pb2 import (
    CancelRunRequest,
    CancelRunResponse,
    GetSnapshotRequest,
    ResolveInputRequest,
    StartStreamingTurnRequest,
    StartTurnRequest,
    StartTurnResponse,
)
from heddle.runtime.v1.event_pb2 import ThreadEvent
from heddle.runtime.v1.input_pb2 import InputAnswer, InputRequest
from heddle.runtime.v1.run_pb2 import Run
from heddle.runtime.v1.snapshot_pb2 import ThreadSnapshot
from heddle.runtime.v1.stream_pb2 import StreamFrame
from heddle.runtime.v1.thread_service_pb2 import ListEventsRequest, VerifyThreadRequest
from heddle.runtime.v1.turn_pb2 import AgentReference, Turn
from heddle_client.stubs import RuntimeStubs
from heddle_grpc.channel import open_channel
from heddle_grpc.settings import ChannelSettings
from heddle_runtime.settings import LaneTimes, LimitSettings, RuntimeSettings, ToolSettings
from heddle_runtime.wiring.runtime import running_runtime
from tests.kit.tool_servers import ToolServer
from tests.kit.tool_servers import serving as serving_tools

AGENT = "tester"


def new_id(prefix: str = "req") -> str:
    return f"{prefix}_{uuid4().hex[:20]}"


def says(text: str, **fields: Any) -> Turn:
    """A turn of one text."""
    return Turn(content=[ContentPart(text=text)], **fields)


@dataclass
class House:
    """A served runtime, and what callers do with it."""

    stubs: RuntimeStubs
    tools: ToolServer
    folder: Path

    async def start(
        self, text: str, thread_id: str = "", *, wait: int = 20, request_id: str = "", **fields: Any
    ) -> Any:
        """Start a turn and wait until it settles or waits."""
        return await self.send(says(text, **self._with_agent(fields)), thread_id, wait=wait, request_id=request_id)

    async def send(
        self, turn: Turn, thread_id: str = "", *, wait: int = 20, request_id: str = "", **fields: Any
    ) -> StartTurnResponse:
        request = StartTurnRequest(
            request_id=request_id or new_id(),
            thread_id=thread_id,
            create_if_missing=bool(thread_id),
            turn=turn,
            wait_seconds=wait,
            **fields,
        )
        return await self.stubs.agent_runtime.StartTurn(request)

    def frames(self, text: str, thread_id: str = "", *, request_id: str = "", **fields: Any) -> Any:
        """The stream of a new turn."""
        return self.stream(
            StartStreamingTurnRequest(
                request_id=request_id or new_id(),
                thread_id=thread_id,
                create_if_missing=bool(thread_id),
                turn=says(text, **self._with_agent(fields)),
            )
        )

    async def stream(self, request: StartStreamingTurnRequest) -> AsyncGenerator[StreamFrame]:
        call = self.stubs.agent_runtime.StartStreamingTurn(request)
        try:
            async for response in call:
                yield response.frame
        finally:
            call.cancel()

    async def words(self, text: str, thread_id: str, until: str, **fields: Any) -> str:
        """Start a turn, and hang up when it has written `until`; its run's id."""
        said, run_id = "", ""
        async with asyncio.timeout(20), aclosing(self.frames(text, thread_id, **fields)) as frames:
            async for frame in frames:
                run_id = run_id or frame.opened.run_id
                said += "".join(delta.text for delta in frame.deltas.deltas)
                if until in said:
                    return run_id
        raise AssertionError(f"the stream ended behind {said!r}")

    async def wait(self, run_id: str, seconds: int = 20) -> Run:
        """The run once it settles or waits."""
        return (await self.stubs.runs.WaitRun(run_service_pb2.WaitRunRequest(run_id=run_id, wait_seconds=seconds))).run

    async def run(self, run_id: str) -> Run:
        return (await self.stubs.runs.GetRun(run_service_pb2.GetRunRequest(run_id=run_id))).run

    async def cancel(self, run_id: str, **fields: Any) -> CancelRunResponse:
        target = {"run_id": run_id} if run_id else fields
        return await self.stubs.agent_runtime.CancelRun(CancelRunRequest(request_id=new_id(), **target))

    async def resolve(
        self, input_id: str, answer: InputAnswer | None = None, *, token: str = "", request_id: str = "", **fields: Any
    ) -> Any:
        return await self.stubs.agent_runtime.ResolveInput(
            ResolveInputRequest(
                request_id=request_id or new_id(),
                input_id=input_id,
                answer=answer if answer is not None else InputAnswer(**fields),
                resolution_token=token,
            )
        )

    async def snapshot(self, thread_id: str, at: int = 0) -> ThreadSnapshot:
        request = GetSnapshotRequest(thread_id=thread_id, at_sequence=at, message_window=100)
        return (await self.stubs.agent_runtime.GetSnapshot(request)).snapshot

    async def pending(self, thread_id: str) -> list[InputRequest]:
        return list((await self.snapshot(thread_id)).pending_inputs)

    async def events(self, thread_id: str) -> list[ThreadEvent]:
        request = ListEventsRequest(thread_id=thread_id, page_size=1000)
        return list((await self.stubs.threads.ListEvents(request)).events)

    async def kinds(self, thread_id: str) -> list[str]:
        return [str(event.WhichOneof("payload")) for event in await self.events(thread_id)]

    async def verify(self, thread_id: str) -> None:
        """Have the runtime check the thread's chain, and that snapshots equal the fold."""
        await self.stubs.threads.VerifyThread(VerifyThreadRequest(thread_id=thread_id))

    async def offer(self, *, first: bool = True, **spec: Any) -> None:
        """Make the agent that turns use, and let it reach the tools of the kit."""
        if first:
            agent = agent_pb2.AgentSpec(instructions="Test.", tools=["kit/*", "builtin/*"], **spec)
            await self.stubs.agents.CreateAgent(
                agent_service_pb2.CreateAgentRequest(request_id=new_id(), agent_id=AGENT, spec=agent)
            )
        if self.tools.tools and first:
            provider = tool_provider_service_pb2.CreateToolProviderRequest(
                request_id=new_id(),
                provider={"provider_id": "kit", "grpc_target": self.tools.address},
            )
            made = await self.stubs.tool_providers.CreateToolProvider(provider)
            assert made.provider.available, made

    def _with_agent(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {"agent": AgentReference(agent_id=AGENT), **fields}


@asynccontextmanager
async def house(
    folder: Path,
    scenario: str,
    *,
    tools: ToolServer | None = None,
    limits: LimitSettings | None = None,
    lanes: LaneTimes | None = None,
    tool_settings: ToolSettings | None = None,
    agent: dict[str, Any] | None = None,
    first: bool = True,
    database: str = "",
) -> AsyncGenerator[House]:
    """Serve a runtime on a free port of loopback whose model plays `scenario`; not `first`: on what another left.

    With `database`, on the PostgreSQL at that address.
    """
    file = folder / "scenario.yaml"
    file.write_text(scenario)
    settings = RuntimeSettings(
        data_dir=folder / "data",
        database=database,
        listen="127.0.0.1:0",
        model=f"scripted:{file}",
        limits=limits or LimitSettings(),
        lanes=lanes or LaneTimes(drain_grace=timedelta(milliseconds=100)),
        tools=tool_settings or ToolSettings(),
        log_level="WARNING",
    )
    async with AsyncExitStack() as stack:
        served = tools or ToolServer()
        if not served.address:
            await stack.enter_async_context(serving_tools(served))
        runtime = await stack.enter_async_context(running_runtime(settings))
        channel = open_channel(ChannelSettings.model_validate({"address": runtime.address, "attempts": 1}))
        stack.push_async_callback(channel.close)
        here = House(RuntimeStubs.on(channel), served, folder)
        await here.offer(first=first, **(agent or {}))
        yield here


def payloads(events: Iterable[ThreadEvent], kind: str) -> list[Any]:
    """The payloads of one kind, in order."""
    return [getattr(event, kind) for event in events if event.WhichOneof("payload") == kind]
