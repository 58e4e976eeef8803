"""`read_file`: text out of the tenant's folder."""

import asyncio

from heddle_runtime.tools.builtin.sandbox import Sandbox, SandboxRefused
from heddle_runtime.tools.builtin.tool import PROVIDER_ID, Arguments, refused, said, schema_of
from heddle_runtime.tools.port import RiskClass, ToolEnd, ToolInvocation, ToolSpec

MOST_READ = 65_536
"""Characters that one call returns."""


class ReadFile:
    """Reads a text file, or a part of it."""

    spec = ToolSpec(
        provider_id=PROVIDER_ID,
        name="read_file",
        description=f"Read a text file of the workspace, up to {MOST_READ} characters from `offset`.",
        parameters_json=schema_of(
            {
                "path": {"type": "string", "minLength": 1, "maxLength": 4096, "description": "as notes/plan.txt"},
                "offset": {"type": "integer", "minimum": 0, "description": "first character; 0 if left out"},
            },
            required=("path",),
        ),
        risk=RiskClass.READ,
        read_only=True,
        category="files",
    )

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def perform(self, arguments: Arguments, invocation: ToolInvocation) -> ToolEnd:
        """The text, with a note where there is more."""
        path = arguments["path"]
        offset = arguments.get("offset", 0)
        try:
            content = await asyncio.to_thread(self._sandbox.read, invocation.context.tenant, path)
        except (SandboxRefused, OSError) as error:
            return refused(
                str(error) if isinstance(error, SandboxRefused) else f"{path} cannot be read: {error.strerror}"
            )
        try:
            text = content.decode()
        except UnicodeDecodeError:
            return refused(f"{path} is not UTF-8 text; it has {len(content)} bytes")
        if offset > len(text):
            return refused(f"{path} has {len(text)} characters: choose a smaller offset")
        end = offset + MOST_READ
        note = f"\n[{len(text) - end} more characters: call again with offset {end}]" if end < len(text) else ""
        return said(text[offset:end] + note)
