"""Watches the words of a run arrive, and kills the server in the middle of them."""

import asyncio

from heddle_cli.demo.server import DemoServer
from heddle_cli.display.following import Following
from heddle_client.transcript import Transcript
from heddle_client.transcript_lines import ToolState
from heddle_core.values import value

ENOUGH_BYTES = 80
"""Bytes of the answer that must have arrived before the kill: about 15 words."""


@value
class Killed:
    """What the client had when the server died."""

    pid: int
    message_id: str
    words: str
    sequence: int
    """Last fact that the client had."""


class Crash:
    """A display that shows what another shows, and strikes once: after the tool, in the middle of the answer."""

    def __init__(self, server: DemoServer, inner: Following, run_id: str) -> None:
        self._server = server
        self._inner = inner
        self._run_id = run_id
        self.struck = asyncio.Event()
        self.killed: Killed | None = None
        self.provisional: dict[str, str] = {}
        """The last words of each message before a fact settled it."""

    def show(self, transcript: Transcript) -> None:
        """Show, remember, and strike when it is time."""
        self._inner.show(transcript)
        tools_done = any(
            tool.run_id == self._run_id and tool.state is ToolState.ENDED for tool in transcript.tools.values()
        )
        for line in transcript.messages.values():
            if line.run_id != self._run_id or line.settled or not line.text:
                continue
            self.provisional[line.message_id] = line.text
            if tools_done and self.killed is None and len(line.text.encode()) >= ENOUGH_BYTES:
                self._server.kill()
                self.killed = Killed(self._server.pids[-1], line.message_id, line.text, transcript.sequence)
                self.struck.set()

    def pause(self) -> None:
        """See `Following`."""
        self._inner.pause()
