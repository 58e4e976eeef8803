"""The generated stubs of the runtime's services, typed, on one channel: for what the facade does not cover."""

from typing import Self

import grpc

from heddle.runtime.v1.agent_runtime_pb2_grpc import AgentRuntimeStub
from heddle.runtime.v1.agent_service_pb2_grpc import AgentServiceStub
from heddle.runtime.v1.input_service_pb2_grpc import InputServiceStub
from heddle.runtime.v1.run_service_pb2_grpc import RunServiceStub
from heddle.runtime.v1.thread_service_pb2_grpc import ThreadServiceStub
from heddle.runtime.v1.tool_provider_service_pb2_grpc import ToolProviderServiceStub
from heddle_core.values import value


@value
class RuntimeStubs:
    """One stub for each service of `heddle.runtime.v1`.

    On a channel of `heddle_grpc.channel` their calls have its deadlines and retries, and raise Heddle's errors.
    """

    agent_runtime: AgentRuntimeStub
    threads: ThreadServiceStub
    runs: RunServiceStub
    inputs: InputServiceStub
    agents: AgentServiceStub
    tool_providers: ToolProviderServiceStub

    @classmethod
    def on(cls, channel: grpc.aio.Channel) -> Self:
        """The stubs on `channel`, which stays the caller's to close."""
        return cls(
            agent_runtime=AgentRuntimeStub(channel),
            threads=ThreadServiceStub(channel),
            runs=RunServiceStub(channel),
            inputs=InputServiceStub(channel),
            agents=AgentServiceStub(channel),
            tool_providers=ToolProviderServiceStub(channel),
        )
