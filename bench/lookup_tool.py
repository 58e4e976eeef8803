"""The tool of the reference turn, in a process of its own: a ToolService with one tool that answers at once.

    PYTHONPATH=libs python bench/lookup_tool.py

Prints one line of JSON with its address, and serves until SIGTERM.
"""

import asyncio
import json
import signal

import grpc

from heddle.common.v1.content_pb2 import ContentPart
from heddle.tools.v1 import tool_pb2, tool_service_pb2, tool_service_pb2_grpc

LOOKUP = tool_pb2.Tool(
    name="lookup",
    description="Look a word up.",
    parameters_json='{"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}',
    risk=tool_pb2.RISK_CLASS_READ,
    read_only=True,
)
RESULT = tool_service_pb2.CallToolResponse(
    result=tool_service_pb2.ToolResult(
        outcome=tool_service_pb2.TOOL_OUTCOME_OK,
        content=[ContentPart(text="guides one thread through its own lane")],
    )
)


class Lookup(tool_service_pb2_grpc.ToolServiceServicer):
    async def ListTools(self, request, context):
        return tool_service_pb2.ListToolsResponse(tools=[LOOKUP])

    async def CallTool(self, request, context):
        yield RESULT


async def main() -> None:
    server = grpc.aio.server()
    tool_service_pb2_grpc.add_ToolServiceServicer_to_server(Lookup(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(json.dumps({"address": f"127.0.0.1:{port}"}), flush=True)
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)
    await asked.wait()
    await server.stop(0)


if __name__ == "__main__":
    import uvloop

    uvloop.install()
    asyncio.run(main())
