"""`list_files`: what there is in the tenant's folder."""

import asyncio

from heddle_runtime.tools.builtin.sandbox import Sandbox, SandboxRefused
from heddle_runtime.tools.builtin.tool import PROVIDER_ID, Arguments, answered, refused, schema_of
from heddle_runtime.tools.port import RiskClass, ToolEnd, ToolInvocation, ToolSpec

MOST_LISTED = 500
"""Entries that one call returns."""


class ListFiles:
    """Lists files and folders, all the way down."""

    spec = ToolSpec(
        provider_id=PROVIDER_ID,
        name="list_files",
        description=f"List files and folders of the workspace below a folder, at most {MOST_LISTED}.",
        parameters_json=schema_of(
            {"path": {"type": "string", "maxLength": 4096, "description": "a folder as notes; everything if left out"}}
        ),
        risk=RiskClass.READ,
        read_only=True,
        category="files",
    )

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def perform(self, arguments: Arguments, invocation: ToolInvocation) -> ToolEnd:
        """Paths, with sizes of files in bytes."""
        path = arguments.get("path", "")
        try:
            entries, more = await asyncio.to_thread(
                self._sandbox.entries, invocation.context.tenant, path, most=MOST_LISTED
            )
        except SandboxRefused as error:
            return refused(str(error))
        except OSError as error:
            return refused(f"{path or 'the workspace'} cannot be listed: {error.strerror}")
        listed = [
            {"path": f"{entry.path}/"} if entry.is_folder else {"path": entry.path, "bytes": entry.size}
            for entry in entries
        ]
        return answered({"files": listed, "more": more})
