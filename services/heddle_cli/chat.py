"""A conversation on the terminal: lines in, answers out, until the person leaves.

Reading a line blocks, so the event loop runs only while the agent works; the connection stays open in between.
"""

import asyncio
import sys
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from importlib import import_module
from typing import TypeVar

from heddle.common.v1.content_pb2 import ContentPart
from heddle.runtime.v1.agent_runtime_pb2 import (
    GetSnapshotRequest,
    StartTurnRequest,
)
from heddle.runtime.v1.run_pb2 import Run
from heddle.runtime.v1.run_service_pb2 import GetRunRequest, ListRunsRequest, RetryRunRequest
from heddle.runtime.v1.snapshot_pb2 import ThreadSnapshot
from heddle.runtime.v1.thread_service_pb2 import ListThreadsRequest
from heddle.runtime.v1.turn_pb2 import TriggerKind
from heddle_cli import asking
from heddle_cli.display.blocks import blocks_of
from heddle_cli.display.following import following
from heddle_cli.display.resources import thread_list
from heddle_cli.display.screen import Screen, as_json
from heddle_cli.faults import told_to_people
from heddle_cli.options import Options
from heddle_cli.session import Session, open_session
from heddle_cli.turn_requests import start_request, turn
from heddle_cli.turns import HungUp, Source, Telling, converse, run_source, turn_source
from heddle_client.transcript import Transcript
from heddle_core.faults import HeddleError

HELP = """\
/new              begin a new thread
/threads [ID]     list threads, or go on in one
/model [NAME]     ask this model from now on; the agent's own without a name
/plan             let the agent propose a plan before it acts; again to stop that
/steer TEXT       give TEXT to a run that is under way in this thread
/retry [TEXT]     run the last turn again, with TEXT instead if given
/help             this list
/quit             leave; so does Ctrl-D"""

ResultT = TypeVar("ResultT")


class Chat:
    """One conversation; `talk` returns when the person leaves."""

    def __init__(
        self,
        options: Options,
        screen: Screen,
        *,
        thread_id: str = "",
        agent: str = "",
        model: str = "",
        plan: bool = False,
    ) -> None:
        self._options = options
        self._screen = screen
        self._thread_id = thread_id
        self._agent = agent
        self._model = model
        self._plan = plan
        self._runner = asyncio.Runner()
        self._session: Session | None = None

    def talk(self) -> None:
        """Read lines and answer them. Raises what the first contact with the server raises."""
        if sys.stdin.isatty():
            import_module("readline")  # input() edits lines once it is imported
        stack = AsyncExitStack()
        with self._runner:
            self._session = self._run(stack.enter_async_context(open_session(self._options, self._screen)))
            try:
                self._greet()
                self._read_lines()
            finally:
                self._run(stack.aclose())

    def _greet(self) -> None:
        if self._thread_id:
            self._show_thread(self._thread_id)
        else:
            # Whoever cannot be reached should say so before anything is typed.
            self._run(self._threads(1))
        self._screen.note("Say something. /help lists what else can be typed; Ctrl-D leaves.")

    def _read_lines(self) -> None:
        while True:
            try:
                line = input("> " if sys.stdin.isatty() else "").strip()
            except (EOFError, KeyboardInterrupt):
                self._screen.note("")
                return
            if line in ("/quit", "/exit"):
                return
            try:
                if line.startswith("/"):
                    self._command(*line[1:].partition(" ")[::2])
                elif line:
                    self._say(line)
            except HungUp:
                return
            except HeddleError as error:
                for told in told_to_people(error):
                    self._screen.note(told)

    def _command(self, name: str, rest: str) -> None:
        rest = rest.strip()
        match name:
            case "new":
                self._thread_id = ""
                self._screen.note("a new thread begins with what you say next")
            case "threads" if rest:
                self._show_thread(rest)
                self._thread_id = rest
            case "threads":
                self._run(self._threads(20))
            case "model":
                self._model = rest
                self._screen.note(f"model: {rest or 'the agent decides'}")
            case "plan":
                self._plan = not self._plan
                self._screen.note("plans first" if self._plan else "no plans")
            case "steer" if rest:
                self._run(self._steer(rest))
            case "retry":
                self._retry(rest)
            case "help":
                self._screen.note(HELP)
            case _:
                self._screen.note(f"/{name} is not understood here; /help lists what is")

    def _say(self, text: str) -> None:
        asked = turn(
            text,
            agent=self._agent,
            model=self._model,
            plan=self._plan,
            trigger=TriggerKind.TRIGGER_KIND_CHAT,
        )
        request = start_request(self._open, asked, thread_id=self._thread_id)
        self._follow(turn_source(self._open, request), turn_request_id=request.request_id)

    def _follow(self, source: Source, *, told: Telling | None = None, turn_request_id: str = "") -> None:
        screen = self._screen
        work = converse(
            self._open,
            source,
            display=lambda run_id: following(screen, run_id),
            ask=asking.asker(screen),
            told=told,
            turn_request_id=turn_request_id,
        )
        telling = self._run(work)
        if not self._thread_id:
            screen.note(f"(thread {telling.thread_id})")
        self._thread_id = telling.thread_id
        if screen.machine:
            screen.data_line(as_json(self._run(self._run_of(telling.run_id))))
        if not telling.run.ended and telling.pending:
            screen.note(f"the run waits: heddle answer {telling.pending[0].input_id}")

    def _retry(self, text: str) -> None:
        run = self._run(self._retried(text))
        if run is not None:
            told = Telling(thread_id=run.thread_id, run_id=run.run_id)
            self._follow(run_source(self._open, run), told=told)

    async def _retried(self, text: str) -> Run | None:
        found = await self._open.runtime.list_runs(ListRunsRequest(thread_id=self._thread_id, page_size=1))
        if not self._thread_id or not found.runs:
            self._screen.note("there is no turn yet to run again")
            return None
        request = RetryRunRequest(
            request_id=self._open.new_request_id(),
            run_id=found.runs[0].run_id,
            content=[ContentPart(text=text)] if text else [],
            model=self._model,
        )
        return (await self._open.stubs.runs.RetryRun(request)).run

    async def _steer(self, text: str) -> None:
        if not self._thread_id:
            self._screen.note("there is no run to steer: this thread has not begun")
            return
        request = StartTurnRequest(
            request_id=self._open.new_request_id(), thread_id=self._thread_id, turn=turn(text, steer=True)
        )
        answer = await self._open.runtime.start_turn(request)
        self._screen.note(f"given to run {answer.run.run_id}")

    def _show_thread(self, thread_id: str) -> None:
        snapshot = self._run(self._snapshot(thread_id))
        if self._screen.machine:
            return
        for block in blocks_of(Transcript.of_snapshot(snapshot)):
            self._screen.out.print(block.text)

    async def _run_of(self, run_id: str) -> Run:
        return (await self._open.runtime.get_run(GetRunRequest(run_id=run_id))).run

    async def _snapshot(self, thread_id: str) -> ThreadSnapshot:
        return (await self._open.runtime.get_snapshot(GetSnapshotRequest(thread_id=thread_id))).snapshot

    async def _threads(self, most: int) -> None:
        found = await self._open.stubs.threads.ListThreads(ListThreadsRequest(page_size=most))
        if most > 1:
            self._screen.result(found, lambda: thread_list(found.threads))

    @property
    def _open(self) -> Session:
        assert self._session is not None, "talk() opens it first"
        return self._session

    def _run(self, work: Coroutine[None, None, ResultT]) -> ResultT:
        return self._runner.run(work)
