"""`write_file`: text into the tenant's folder, once a person has agreed."""

import asyncio
import threading

from heddle_runtime.tools.builtin.sandbox import MOST_FILE, Sandbox, SandboxRefused
from heddle_runtime.tools.builtin.tool import PROVIDER_ID, Arguments, answered, refused, said, schema_of
from heddle_runtime.tools.port import RiskClass, ToolEnd, ToolFault, ToolFaultKind, ToolInvocation, ToolReply, ToolSpec


class WriteFile:
    """Writes a whole text file, all of it or nothing."""

    spec = ToolSpec(
        provider_id=PROVIDER_ID,
        name="write_file",
        description="Write a text file of the workspace, with all of its content; folders on the path are made.",
        parameters_json=schema_of(
            {
                "path": {"type": "string", "minLength": 1, "maxLength": 4096, "description": "as notes/plan.txt"},
                "content": {"type": "string", "maxLength": MOST_FILE},
                "replace": {"type": "boolean", "description": "write over a file that exists; false if left out"},
            },
            required=("path", "content"),
        ),
        risk=RiskClass.WRITE,
        needs_approval=True,
        category="files",
    )

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def perform(self, arguments: Arguments, invocation: ToolInvocation) -> ToolEnd:
        """How much was written, or why nothing was. Raises ToolFault if that is not known."""
        path, content = arguments["path"], arguments["content"].encode("utf-8", "replace")
        if invocation.dry_run:
            return said(f"would write {len(content)} bytes to {path}")
        # Whoever takes it first has decided whether the file changes: the writer at its last step, or the canceller.
        decision = threading.Lock()

        def admit() -> bool:
            return decision.acquire(blocking=False)

        def write() -> ToolReply:
            try:
                self._sandbox.write(
                    invocation.context.tenant,
                    path,
                    content,
                    replace=arguments.get("replace", False),
                    key=invocation.idempotency_key,
                    admit=admit,
                )
            except SandboxRefused as error:
                return refused(str(error))
            except OSError as error:
                what = f"{path} cannot be written: {error.strerror}"
                if decision.locked():
                    raise ToolFault(ToolFaultKind.IN_DOUBT, what) from error
                return refused(what)
            return answered({"path": path, "bytes": len(content)})

        writing = asyncio.ensure_future(asyncio.to_thread(write))
        try:
            return await asyncio.shield(writing)
        except asyncio.CancelledError:
            if admit():
                raise
            return await writing
