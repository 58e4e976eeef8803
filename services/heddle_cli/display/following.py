"""Shows a transcript while it grows: on a terminal with a live part, elsewhere as plain words that only grow."""

import sys
from typing import Protocol

from rich.console import Group
from rich.live import Live
from rich.text import Text

from heddle_cli.display.blocks import Block, BlockKind, blocks_of
from heddle_cli.display.screen import Screen, clean
from heddle_client.transcript import Transcript
from heddle_client.transcript_lines import MessageLine


class Following(Protocol):
    """What shows one transcript."""

    def show(self, transcript: Transcript) -> None:
        """Show what is new."""
        ...

    def pause(self) -> None:
        """Leave the terminal alone, for a question; `show` goes on."""
        ...


def following(screen: Screen, run_id: str = "", *, users: bool = False, lasting: bool = False) -> Following:
    """What fits the screen.

    `run_id`: only this run; `users`: also what people said; `lasting`: words stay even where they count no more.
    """
    if screen.machine:
        return Silent()
    plain = lasting or not screen.is_live
    return PlainFollowing(screen, run_id, users) if plain else LiveFollowing(screen, run_id, users)


class Silent:
    """Shows nothing: the result is told at the end, as JSON."""

    def show(self, transcript: Transcript) -> None:
        """Nothing."""

    def pause(self) -> None:
        """Nothing."""


class LiveFollowing:
    """Prints what is settled, and keeps what is being written in a live part below it."""

    def __init__(self, screen: Screen, run_id: str, users: bool) -> None:
        self._screen = screen
        self._run_id = run_id
        self._users = users
        self._printed: set[str] = set()
        self._live: Live | None = None

    def show(self, transcript: Transcript) -> None:
        """See `Following`."""
        blocks = [each for each in blocks_of(transcript, self._run_id, users=self._users) if self._is_new(each)]
        settled: list[Block] = []
        while blocks and blocks[0].settled:
            settled.append(blocks.pop(0))
        unsettled = [each for each in blocks if each.kind is not BlockKind.INPUT]
        if unsettled:
            # Before anything is printed: printing repeats the live part as it was told last.
            self._started().update(Group(*_tail(unsettled, self._screen)), refresh=not settled)
        else:
            self.pause()
        for block in settled:
            self._printed.add(block.key)
            self._screen.out.print(block.text)

    def pause(self) -> None:
        """See `Following`."""
        live, self._live = self._live, None
        if live is not None:
            live.update(Text(""))
            live.stop()

    def _is_new(self, block: Block) -> bool:
        return block.key not in self._printed

    def _started(self) -> Live:
        if self._live is None:
            self._live = Live(console=self._screen.out, transient=True, auto_refresh=False)
            self._live.start()
        return self._live


def _tail(blocks: list[Block], screen: Screen) -> list[Text]:
    """The last lines of what is being written, as many as fit: a live part taller than the terminal flickers."""
    room = max(screen.out.height - 2, 3)
    lines: list[Text] = []
    for block in blocks:
        lines.extend(block.text.wrap(screen.out, screen.out.width))
    return lines[-room:]


class PlainFollowing:
    """Words to stdout as they come, the rest to stderr as it settles. Nothing is ever taken back.

    Where an attempt is discarded, a line on stderr says so, and its successor begins on a line of its own.
    """

    def __init__(self, screen: Screen, run_id: str, users: bool) -> None:
        self._screen = screen
        self._run_id = run_id
        self._users = users
        self._open = ""
        """Message in whose line the words end. Empty: at the beginning of a line."""
        self._written: dict[str, str] = {}
        self._done: set[str] = set()

    def show(self, transcript: Transcript) -> None:
        """See `Following`."""
        for gone in [key for key in self._written if key not in transcript.messages]:
            del self._written[gone]
            self._begin_again()
        for block in blocks_of(transcript, self._run_id, users=self._users):
            if block.key in self._done:
                continue
            if block.kind is BlockKind.ANSWER:
                self._write(transcript.messages[block.key.partition(" ")[2]], block.key)
            elif block.settled and not self._open:
                self._done.add(block.key)
                self._screen.note(block.text)

    def pause(self) -> None:
        """See `Following`."""
        self._end_line()

    def _write(self, line: MessageLine, key: str) -> None:
        if self._open != line.message_id:
            self._end_line()
        written = self._written.get(line.message_id, "")
        if not line.text.startswith(written):
            self._begin_again()
            written = ""
        words = line.text[len(written) :]
        sys.stdout.write(clean(words) if self._screen.out.is_terminal else words)
        sys.stdout.flush()
        self._written[line.message_id] = line.text
        self._open = line.message_id
        if line.settled:
            self._done.add(key)
            self._end_line()

    def _begin_again(self) -> None:
        """What was written counts no more."""
        self._end_line()
        self._screen.note("(these words count no more: the answer begins again)")

    def _end_line(self) -> None:
        if self._open and not self._written.get(self._open, "").endswith("\n"):
            sys.stdout.write("\n")
            sys.stdout.flush()
        self._open = ""
