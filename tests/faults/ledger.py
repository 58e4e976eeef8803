"""`python -m tests.faults.ledger FILE`: tools whose every effect is on disk before they answer.

What happened outside is what this file says, whatever the runtime believes. A line is written and synced when a call
arrives, which is its effect; a tool that is idempotent does nothing the second time, and says so in its line.
"""

import asyncio
import json
import os
import sys
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import IO, Any

import grpc

from heddle.common.v1.content_pb2 import ContentPart
from heddle.tools.v1 import tool_pb2, tool_service_pb2, tool_service_pb2_grpc
from heddle.tools.v1.tool_service_pb2 import CallToolRequest, CallToolResponse

_ARGUMENTS = '{"type":"object","properties":{"note":{"type":"string"}}}'

TOOLS = (
    tool_pb2.Tool(name="write", description="Writes once.", risk=tool_pb2.RISK_CLASS_WRITE),
    tool_pb2.Tool(name="slow", description="Writes, slowly.", risk=tool_pb2.RISK_CLASS_WRITE),
    tool_pb2.Tool(name="once", description="Writes by key.", risk=tool_pb2.RISK_CLASS_WRITE, idempotent=True),
    tool_pb2.Tool(name="read", description="Reads.", risk=tool_pb2.RISK_CLASS_READ, read_only=True),
    tool_pb2.Tool(name="peek", description="Reads, at a price.", risk=tool_pb2.RISK_CLASS_READ),
    tool_pb2.Tool(name="asked", description="Writes if allowed.", risk=tool_pb2.RISK_CLASS_WRITE, needs_approval=True),
    tool_pb2.Tool(name="later", description="Ends later.", risk=tool_pb2.RISK_CLASS_WRITE),
)
"""One tool of each kind; `peek` is of the lesser class and neither read-only nor idempotent: in doubt it is UNKNOWN."""

SLOW_SECONDS = 0.4


class Ledger(tool_service_pb2_grpc.ToolServiceServicer):
    """The tools, and their one file."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file
        self._keys: set[str] = set()

    async def ListTools(
        self, request: tool_service_pb2.ListToolsRequest, context: Any
    ) -> tool_service_pb2.ListToolsResponse:
        """All tools on one page."""
        tools = [tool_pb2.Tool(**_fields(tool), parameters_json=_ARGUMENTS) for tool in TOOLS]
        return tool_service_pb2.ListToolsResponse(tools=tools)

    async def CallTool(self, request: CallToolRequest, context: Any) -> AsyncGenerator[CallToolResponse, None]:
        """Have the effect, put it on record, and answer."""
        fresh = request.idempotency_key not in self._keys
        self._keys.add(request.idempotency_key)
        self._note(request, fresh)
        if request.tool == "slow":
            yield CallToolResponse(progress=tool_service_pb2.ToolProgress(fraction=0.5, message="half"))
            await asyncio.sleep(SLOW_SECONDS)
        if request.tool == "later":
            yield CallToolResponse(deferral=tool_service_pb2.ToolDeferral(message="somebody will say"))
            return
        content = [ContentPart(text=f"done: {request.tool} {request.idempotency_key}")]
        outcome = tool_service_pb2.TOOL_OUTCOME_OK
        yield CallToolResponse(result=tool_service_pb2.ToolResult(outcome=outcome, content=content))

    def _note(self, request: CallToolRequest, fresh: bool) -> None:
        context = request.context
        told = {
            "kind": "effect",
            "tool": request.tool,
            "key": request.idempotency_key,
            "arguments": request.arguments_json,
            "tenant": context.tenant,
            "thread_id": context.thread_id,
            "run_id": context.run_id,
            "call_id": context.call_id,
            "fence": context.fence,
            "fresh": fresh,
        }
        self._file.write(json.dumps(told) + "\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def _fields(tool: tool_pb2.Tool) -> dict[str, Any]:
    return {field.name: value for field, value in tool.ListFields()}


async def serve(path: Path) -> None:
    """Serve until the input ends."""
    with path.open("a") as file:
        server = grpc.aio.server()
        tool_service_pb2_grpc.add_ToolServiceServicer_to_server(Ledger(file), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        sys.stdout.write(json.dumps({"address": f"127.0.0.1:{port}"}) + "\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)
        await server.stop(None)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1])))
