"""The acts of `heddle demo`: a turn, a real brief, a crash in the middle, and what is true afterwards."""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from heddle.runtime.v1.agent_service_pb2 import CreateAgentRequest
from heddle.runtime.v1.input_pb2 import InputAnswer, InputRequest
from heddle.runtime.v1.stream_pb2 import StreamFrame
from heddle.runtime.v1.thread_service_pb2 import VerifyThreadRequest, VerifyThreadResponse
from heddle_cli import asking
from heddle_cli.agent_files import read_agent
from heddle_cli.demo.campaign import play_campaign
from heddle_cli.demo.checks import Check, Evidence, check
from heddle_cli.demo.crash import Crash
from heddle_cli.demo.examples import Examples
from heddle_cli.demo.server import DemoServer
from heddle_cli.display.blocks import input_text
from heddle_cli.display.following import Following, following
from heddle_cli.display.screen import Screen
from heddle_cli.faults import ExitCode
from heddle_cli.log_reading import read_log
from heddle_cli.options import Options
from heddle_cli.session import Session, open_session
from heddle_cli.turn_requests import start_request, turn
from heddle_cli.turns import HungUp, Telling, converse, turn_source
from heddle_core.runtime_errors import ChainBroken

_MOST_TRIES = 3
"""A small model may answer in so few words that there is no middle to kill it in: then it is asked again."""

_SCRIPTED_CAMPAIGN = "scripted:campaign"


@dataclass(frozen=True)
class Demo:
    """What is played, and where."""

    screen: Screen
    examples: Examples
    folder: Path
    """Empty; the server's data and log go there."""
    model: str
    """Model that answers the brief."""

    async def play(self) -> ExitCode:
        """All acts. RUN_FAILED when a check does not hold."""
        server = DemoServer(
            data_dir=self.folder / "data",
            log=self.folder / "server.log",
            environment={"HEDDLE_MODELS__SCENARIO_FOLDERS": json.dumps([str(self.examples.scenarios.resolve())])},
            model="scripted:hello",
        )
        try:
            return await self._play(server)
        except HungUp:
            return ExitCode.INTERRUPTED
        finally:
            await server.stop()

    async def _play(self, server: DemoServer) -> ExitCode:
        self._act(1, "An embedded server: one process, one port, files in one folder. No key, no network.")
        begun = time.monotonic()
        await server.start()
        self._tell(f"process {server.pids[-1]} serves {server.address} after {time.monotonic() - begun:.1f} s")
        async with open_session(Options(address=server.address), self.screen) as session:
            self._act(2, "A scripted turn, at once: the model reads its words from a file.")
            await self._scripted_turn(session)
            self._act(3, f"A real brief for {self.model}: it calls a tool, and a person must approve the call.")
            await self._make_agent(session)
            checks = await self._crash(session, server)
            self._act(6, "A campaign: work that recurs. A folder of files says what it is, and one cycle starts now.")
            if not self.model.startswith("scripted:"):
                self._tell(f"who delegates plays a script; whom it asks is {self.model}")
            checks += await play_campaign(session, self.examples.campaign, self._campaign_model, self._tell)
        self._act(7, "What is true now:")
        return self._judge(checks)

    async def _scripted_turn(self, session: Session) -> None:
        said = "Good morning. Does anybody live here?"
        self._tell(f"> {said}")
        request = start_request(session, turn(said, model="scripted:hello"))
        await converse(session, turn_source(session, request), display=self._display)

    async def _make_agent(self, session: Session) -> None:
        agent_id, spec = read_agent(self.examples.agent.read_text(encoding="utf-8"), self.examples.agent.name)
        request = CreateAgentRequest(request_id=session.new_request_id(), agent_id=agent_id, spec=spec)
        agent = (await session.stubs.agents.CreateAgent(request)).agent
        self._tell(f"agent {agent.agent_id} version {agent.version} is made from {self.examples.agent.name}")

    async def _crash(self, session: Session, server: DemoServer) -> list[Check]:
        brief = self.examples.brief.read_text(encoding="utf-8")
        for line in brief.strip().splitlines():
            self._tell(f"> {line}".rstrip())
        checks: list[Check] = []
        for _ in range(_MOST_TRIES):
            crash, telling, seen = await self._brief_turn(session, server, brief)
            checks = check(await self._evidence(session, crash, telling, seen, brief))
            if crash is not None and crash.killed is not None:
                break
            self._tell("(the answer was too short to be killed in the middle: once more, without the file)")
            await asyncio.to_thread(self._forget_file, telling)
        return checks

    async def _brief_turn(
        self, session: Session, server: DemoServer, brief: str
    ) -> tuple[Crash | None, Telling, list[int]]:
        agent_id, _ = read_agent(self.examples.agent.read_text(encoding="utf-8"), self.examples.agent.name)
        request = start_request(session, turn(brief, agent=agent_id, model=self.model))
        telling = _Witness()
        crashes: list[Crash] = []
        resurrections: list[asyncio.Task[None]] = []

        def display(run_id: str) -> Following:
            crash = Crash(server, self._display(run_id), run_id)
            crashes.append(crash)
            resurrections.append(asyncio.ensure_future(self._resurrect(crash, server)))
            return crash

        try:
            await converse(session, turn_source(session, request), display=display, ask=self._ask, told=telling)
            if crashes and crashes[0].killed is not None:
                await asyncio.gather(*resurrections)
        finally:
            for each in resurrections:
                each.cancel()
            if resurrections:
                await asyncio.wait(resurrections)
        return (crashes[0] if crashes else None), telling, telling.seen

    async def _resurrect(self, crash: Crash, server: DemoServer) -> None:
        await crash.struck.wait()
        killed = crash.killed
        assert killed is not None, "it was set before the bell was rung"
        code = await server.gone()
        crash.pause()
        self._act(4, f"kill -9 {killed.pid}: {len(killed.words.encode())} bytes of the answer had arrived.")
        self._tell(f"the process ended with {code}; the client keeps its stream open and tries again by itself")
        self._act(5, "The same folder, a new process. Recovery is nothing special: load, fold, continue.")
        begun = time.monotonic()
        await server.start()
        self._tell(f"process {server.pids[-1]} serves {server.address} after {time.monotonic() - begun:.1f} s")

    def _ask(self, asked: InputRequest) -> InputAnswer | None:
        if self.screen.can_ask:
            return asking.ask(self.screen, asked)
        if not self.screen.machine:
            self.screen.say(input_text(asked))
        self._tell("  there is no terminal to ask at: approved")
        return asking.approval()

    async def _evidence(
        self, session: Session, crash: Crash | None, telling: Telling, seen: list[int], brief: str
    ) -> Evidence:
        verified: VerifyThreadResponse | None = None
        with contextlib.suppress(ChainBroken):
            verified = await session.stubs.threads.VerifyThread(VerifyThreadRequest(thread_id=telling.thread_id))
        log = await read_log(session.runtime, telling.thread_id)
        answers = [line for line in telling.transcript.shown if line.run_id == telling.run_id]
        last = answers[-1].message_id if answers else ""
        return Evidence(
            run_id=telling.run_id,
            brief=brief,
            log=log,
            seen=seen,
            killed=crash.killed if crash else None,
            answer=telling.transcript.answer(telling.run_id),
            provisional=crash.provisional.get(last, "") if crash else "",
            verified=verified,
            file_text=await asyncio.to_thread(self._written_file, telling),
        )

    def _written_file(self, telling: Telling) -> str | None:
        """What lies where the tool says it wrote; None when nothing does."""
        found = self._file(telling)
        return None if found is None else found.read_text(encoding="utf-8")

    def _forget_file(self, telling: Telling) -> None:
        found = self._file(telling)
        if found is not None:
            found.unlink()

    def _file(self, telling: Telling) -> Path | None:
        """The tool's file, below any tenant's folder of the sandbox."""
        for tool in telling.transcript.tools.values():
            try:
                path = json.loads(tool.arguments_json).get("path", "")
            except (ValueError, AttributeError):
                continue
            for folder in (self.folder / "data" / "sandbox").iterdir():
                if path and (folder / path).is_file():
                    return folder / path
        return None

    def _judge(self, checks: list[Check]) -> ExitCode:
        good = all(each.holds for each in checks)
        if self.screen.machine:
            self.screen.data({"model": self.model, "ok": good, "checks": [asdict(each) for each in checks]})
        for each in checks:
            self._tell(f"  {'yes' if each.holds else 'NO '}  {each.claim}: {each.detail}")
        if not good:
            self._tell(f"Something is wrong here. The server's log is {self.folder / 'server.log'}")
            return ExitCode.RUN_FAILED
        self._tell("")
        self._tell("Where to go next:")
        self._tell("  heddle up --model local:smollm2     serve, and keep what is said")
        self._tell("  heddle chat                         talk, in another terminal")
        self._tell("  heddle agents models                other models, and what each needs")
        self._tell("  heddle campaign watch trail-shoes   campaigns: docs/campaigns.md")
        self._tell("  docs/cli.md                         every command with an example")
        return ExitCode.OK

    @property
    def _campaign_model(self) -> str:
        return _SCRIPTED_CAMPAIGN if self.model.startswith("scripted:") else self.model

    @property
    def _display(self) -> Callable[[str], Following]:
        return lambda run_id: following(self.screen, run_id, lasting=True)

    def _act(self, number: int, words: str) -> None:
        self._tell("")
        self._tell(f"{number}. {words}")

    def _tell(self, words: str) -> None:
        if self.screen.machine:
            self.screen.note(words)
        else:
            self.screen.say(words)


class _Witness(Telling):
    """Remembers which facts the stream told, in order, as often as it told them."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[int] = []

    def take(self, frame: StreamFrame) -> None:
        """See `Telling`."""
        super().take(frame)
        self.seen += [each.sequence for each in frame.events.events]
