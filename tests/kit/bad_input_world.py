"""A prepared tenant: threads, runs and inputs in every state, agents and providers, for cases around living ids."""

from collections import defaultdict
from typing import Any, Protocol

import grpc

from heddle.runtime.v1.agent_pb2 import AgentSpec, ToolProvider
from heddle.runtime.v1.agent_runtime_pb2 import (
    CancelRunRequest,
    GetSnapshotRequest,
    ResolveInputRequest,
    StartTurnRequest,
)
from heddle.runtime.v1.agent_service_pb2 import ArchiveAgentRequest, CreateAgentRequest, ListAgentsRequest
from heddle.runtime.v1.input_pb2 import InputAnswer, InputDecision
from heddle.runtime.v1.run_service_pb2 import ListRunsRequest, RetryRunRequest
from heddle.runtime.v1.thread_service_pb2 import (
    ArchiveThreadRequest,
    CreateThreadRequest,
    DeleteThreadRequest,
    ForkThreadRequest,
    ListMessagesRequest,
    ListThreadsRequest,
    RedactMessageRequest,
)
from heddle.runtime.v1.tool_provider_service_pb2 import CreateToolProviderRequest
from heddle.runtime.v1.turn_pb2 import ConflictPolicy
from heddle_client.stubs import RuntimeStubs
from tests.kit.property_scenario import TOOLS, turn

Metadata = tuple[tuple[str, str], ...]

_ENQUEUE = ConflictPolicy.CONFLICT_POLICY_ENQUEUE


class World(Protocol):
    """What cases are made around."""

    ids: dict[str, list[str]]
    """Ids that live, by the name of the field that would name them: `thread_id`, `run_id`, `page_token`."""
    last_sequence: int
    tools: str
    """Address of a tool provider."""

    def spare(self, field: str) -> str:
        """A name for something new."""
        ...


class LivingWorld:
    """What one tenant has, by the name of the field that would name it: `thread_id`, `run_id`, `page_token`."""

    def __init__(self, channel: grpc.aio.Channel, metadata: Metadata, name: str, tools: str) -> None:
        """`name` begins every id that is made here; at `tools` a provider answers."""
        self.ids: dict[str, list[str]] = defaultdict(list)
        self.name = name
        self.tools = tools
        self.last_sequence = 0
        self._stubs = RuntimeStubs.on(channel)
        self._metadata = metadata
        self._count = 0

    async def prepare(self) -> "LivingWorld":
        """Make everything. Raises AioRpcError when a good call is refused."""
        await self._make_agents()
        told = await self._turn("told", "say")
        await self._turn("told", "time")
        broken = await self._turn("broken", "broken")
        hanging = await self._turn("hanging", "hang", wait=0)
        await self._turn("asked", "ask")
        await self._turn("asked", "say", wait=0)
        await self._turn("approving", "write")
        await self._turn("client", "look")
        answered = await self._turn("answered", "ask")
        stopped = await self._turn("stopped", "ask")
        stubs, named = self._stubs, self._thread
        await self._call(stubs.agent_runtime.CancelRun, CancelRunRequest(run_id=stopped.run_id))
        await self._answer(answered.thread_id)
        await self._call(stubs.runs.RetryRun, RetryRunRequest(run_id=broken.run_id))
        fork = ForkThreadRequest(source_thread_id=told.thread_id, thread_id=named("fork"))
        await self._call(stubs.threads.ForkThread, fork)
        for name in ("empty", "archived", "deleted"):
            await self._call(stubs.threads.CreateThread, CreateThreadRequest(thread_id=named(name)))
        await self._call(stubs.threads.ArchiveThread, ArchiveThreadRequest(thread_id=named("archived")))
        await self._call(stubs.threads.DeleteThread, DeleteThreadRequest(thread_id=named("deleted")))
        await self._redact(told.thread_id)
        assert hanging.run_id
        await self._note()
        return self

    def spare(self, field: str) -> str:
        """A name for something new."""
        self._count += 1
        return f"{self.name}-new-{field.removesuffix('_id')}-{self._count}"

    async def _make_agents(self) -> None:
        agents, providers = self._stubs.agents, self._stubs.tool_providers
        spec = AgentSpec(display_name="Weaver", instructions="Weave.", tools=TOOLS)
        for name in ("weaver", f"{self.name}-own", f"{self.name}-old"):
            request = CreateAgentRequest(agent_id=name, spec=spec)
            try:
                await self._call(agents.CreateAgent, request)
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.ALREADY_EXISTS, error
        await self._call(agents.ArchiveAgent, ArchiveAgentRequest(agent_id=f"{self.name}-old"))
        provider = ToolProvider(provider_id=f"{self.name}-tools", grpc_target=self.tools)
        await self._call(providers.CreateToolProvider, CreateToolProviderRequest(provider=provider))

    async def _turn(self, thread: str, kind: str, *, wait: int = 10) -> Any:
        request = StartTurnRequest(
            thread_id=self._thread(thread),
            create_if_missing=True,
            turn=turn(f"{self.name} {thread}", kind, _ENQUEUE),
            wait_seconds=wait,
        )
        return (await self._call(self._stubs.agent_runtime.StartTurn, request)).run

    async def _answer(self, thread_id: str) -> None:
        told = await self._call(self._stubs.agent_runtime.GetSnapshot, GetSnapshotRequest(thread_id=thread_id))
        answer = InputAnswer(decision=InputDecision.INPUT_DECISION_ANSWER, options=["red"])
        for asked in told.snapshot.pending_inputs:
            request = ResolveInputRequest(input_id=asked.input_id, answer=answer)
            await self._call(self._stubs.agent_runtime.ResolveInput, request)
            self.ids["input_id"].append(asked.input_id)

    async def _redact(self, thread_id: str) -> None:
        listed = await self._call(self._stubs.threads.ListMessages, ListMessagesRequest(thread_id=thread_id))
        self.ids["message_id"] += [said.message_id for said in listed.messages]
        request = RedactMessageRequest(thread_id=thread_id, message_id=listed.messages[-1].message_id)
        await self._call(self._stubs.threads.RedactMessage, request)

    async def _note(self) -> None:
        """Look up what there is now."""
        stubs = self._stubs
        names = ("told", "broken", "hanging", "asked", "approving", "client", "answered", "stopped", "fork", "empty")
        self.ids["thread_id"] = [self._thread(name) for name in (*names, "archived", "deleted")]
        for thread_id in self.ids["thread_id"][:8]:
            listed = await self._call(stubs.runs.ListRuns, ListRunsRequest(thread_id=thread_id))
            self.ids["run_id"] += [run.run_id for run in listed.runs]
            told = await self._call(stubs.agent_runtime.GetSnapshot, GetSnapshotRequest(thread_id=thread_id))
            self.ids["input_id"] += [asked.input_id for asked in told.snapshot.pending_inputs]
            self.last_sequence = max(self.last_sequence, told.snapshot.sequence)
            self.ids["etag"].append(told.snapshot.thread.etag)
        self.ids["agent_id"] = [f"{self.name}-own", f"{self.name}-old", "weaver", "general"]
        self.ids["provider_id"] = [f"{self.name}-tools", "builtin"]
        for call, request in (
            (stubs.threads.ListThreads, ListThreadsRequest(page_size=1)),
            (stubs.runs.ListRuns, ListRunsRequest(page_size=1)),
            (stubs.agents.ListAgents, ListAgentsRequest(page_size=1)),
            (stubs.threads.ListMessages, ListMessagesRequest(thread_id=self._thread("told"), page_size=1)),
        ):
            self.ids["page_token"].append((await self._call(call, request)).next_page_token)
        self.ids["model"] = ["scripted:everything", "scripted:hello"]

    async def _call(self, stub: Any, request: Any) -> Any:
        if "request_id" in request.DESCRIPTOR.fields_by_name:
            self._count += 1
            request.request_id = f"{self.name}-{self._count}"
            self.ids["request_id"].append(request.request_id)
        return await stub(request, metadata=self._metadata, timeout=30)

    def _thread(self, name: str) -> str:
        return f"{self.name}-{name}"
