"""A complete tool server: one tool that looks a word up. Run it, then register `127.0.0.1:7300` as a tool provider."""

import asyncio
import json
import sys

import grpc

from heddle.common.v1.content_pb2 import ContentPart
from heddle.tools.v1 import tool_pb2, tool_service_pb2, tool_service_pb2_grpc

GLOSSARY = {"heddle": "guides one thread through its own lane", "weft": "the thread that runs across"}
LOOKUP = tool_pb2.Tool(
    name="lookup",
    description="Look up what a word of weaving means.",
    parameters_json=json.dumps({"type": "object", "properties": {"word": {"type": "string"}}, "required": ["word"]}),
    risk=tool_pb2.RISK_CLASS_READ,
    read_only=True,
)


class Lookup(tool_service_pb2_grpc.ToolServiceServicer):
    async def ListTools(self, request, context):
        return tool_service_pb2.ListToolsResponse(tools=[LOOKUP])

    async def CallTool(self, request, context):
        word = json.loads(request.arguments_json)["word"]
        meaning = GLOSSARY.get(word.lower(), f"not in the glossary, which has {', '.join(GLOSSARY)}")
        result = tool_service_pb2.ToolResult(
            outcome=tool_service_pb2.TOOL_OUTCOME_OK, content=[ContentPart(text=meaning)]
        )
        yield tool_service_pb2.CallToolResponse(result=result)


async def main(address="127.0.0.1:7300"):
    server = grpc.aio.server()
    tool_service_pb2_grpc.add_ToolServiceServicer_to_server(Lookup(), server)
    port = server.add_insecure_port(address)
    await server.start()
    print(f"lookup serves on port {port}", flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
