"""How runs are stopped and their inputs answered, from outside."""

import hmac
from dataclasses import replace
from typing import Protocol

from heddle_core.errors import NotFound, invalid
from heddle_core.failpoints import failpoint
from heddle_core.ids import InputId, RunId, TenantId
from heddle_core.runtime_errors import InputNotFound, ResolutionTokenInvalid
from heddle_runtime.facade.answer_rules import check_answer
from heddle_runtime.facade.commands import Cancelled, CancelRuns, Resolved, ResolveInput
from heddle_runtime.lanes.lanes import Lanes
from heddle_runtime.orchestrator.performing import resolution_token
from heddle_runtime.runs.inputs import InputKind, InputRequest
from heddle_runtime.runs.run import Run
from heddle_runtime.runs.state import InputState
from heddle_runtime.threads.log import ThreadLog
from heddle_runtime.tools.schema import Schemas


class ControlStore(Protocol):
    """What control needs of the store."""

    async def cancel_runs(self, command: CancelRuns) -> Cancelled:
        """Mark runs as cancelled."""
        ...

    async def resolve_input(self, command: ResolveInput) -> Resolved:
        """Answer an input."""
        ...

    async def find_input(self, tenant: TenantId, input_id: InputId) -> InputRequest | None:
        """An input by its id, if it has been asked."""
        ...

    async def get_run(self, tenant: TenantId, run_id: RunId) -> Run:
        """A run by its id. Raises RunNotFound."""
        ...


class Controls:
    """Cancels and answers."""

    def __init__(
        self, store: ControlStore, log: ThreadLog, lanes: Lanes, schemas: Schemas, token_secret: bytes
    ) -> None:
        self._store = store
        self._log = log
        self._lanes = lanes
        self._schemas = schemas
        self._token_secret = token_secret

    async def cancel(self, command: CancelRuns) -> Cancelled:
        """Mark runs and their cascading children; workers settle them.

        Raises:
            RunNotFound, ThreadNotFound, RequestIdReused.
        """
        cancelled = await self._store.cancel_runs(command)
        failpoint("cancel_committed")
        return cancelled

    async def resolve(self, command: ResolveInput, token: str = "") -> Resolved:
        """Take an answer, or a report of progress.

        Args:
            command: what is said.
            token: the secret that came with a tool call; needed by nobody else.

        Raises:
            InputNotFound, InputAlreadyResolved, InputExpired, InvalidField, ResolutionTokenInvalid.
        """
        tenant = command.caller.tenant
        ours = resolution_token(self._token_secret, tenant, command.input_id)
        # As bytes: texts are compared in constant time only where they are ASCII, and a caller may send any.
        if token and not hmac.compare_digest(token.encode(), ours.encode()):
            raise ResolutionTokenInvalid(command.input_id)
        if command.answer is None and command.progress is None:
            raise invalid("resolution", "set `answer` or `progress`")
        asked = await self._store.find_input(tenant, command.input_id)
        if asked is None:
            asked = await self._reserved(tenant, command.input_id)
            command = replace(command, reserved=asked)
        if command.answer is not None and asked.state.open:
            check_answer(asked, command.answer, self._schemas)
        resolved = await self._store.resolve_input(command)
        failpoint("input_resolved")
        return resolved

    async def _reserved(self, tenant: TenantId, input_id: InputId) -> InputRequest:
        """The input that was minted with a tool call and has no row yet: its id names the run (SEMANTICS 26)."""
        run_part, _, _ = input_id.removeprefix("inp_").rpartition("_")
        try:
            run = await self._store.get_run(tenant, RunId(f"run_{run_part}"))
            fold = (await self._log.fold(tenant, run.thread_id)).runs.get(run.run_id)
        except NotFound:
            raise InputNotFound(input_id) from None
        for call in fold.calls.values() if fold else ():
            if call.input_id == input_id and call.open and call.started:
                return InputRequest(
                    input_id=input_id,
                    thread_id=run.thread_id,
                    run_id=run.run_id,
                    kind=InputKind.EXTERNAL,
                    state=InputState.RESERVED,
                    call_id=call.call_id,
                    tool=call.tool,
                    arguments_json=call.arguments_json,
                )
        raise InputNotFound(input_id)
