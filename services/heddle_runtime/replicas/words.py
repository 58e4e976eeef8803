"""Words that are written at other replicas, shown to those who watch here (SEMANTICS 18, 19).

They are kept as if they were written here, so that whoever comes later gets the text so far. Only what continues what
is known is taken: what came before is dropped, and after a hole the owner is asked again. The log decides which message
is being written: words of any other one are dropped.
"""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

from heddle_bus import subjects
from heddle_bus.port import Bus, Message, Subscription
from heddle_core.faults import HeddleError
from heddle_core.ids import MessageId, WorkerId
from heddle_core.log_lines import LogLines
from heddle_runtime.replicas.doorbells import lines_of
from heddle_runtime.replicas.ports import DecodeWords, ReplicaStore
from heddle_runtime.replicas.telling import MINE, TOLD_FOR, WHAT
from heddle_runtime.runs.state import RunState
from heddle_runtime.threads.deltas import Delta, Writing
from heddle_runtime.threads.follow import Followers
from heddle_runtime.threads.log import Committed, ThreadKey, ThreadLog
from heddle_runtime.threads.state import AgentSaid, ThreadFold

_log = LogLines(__name__)

_RENEW_EVERY = TOLD_FOR / 3
_SOON = timedelta(milliseconds=200)
"""Until a question is asked again that got no words."""
_PATIENCE = timedelta(seconds=1)
"""How long an owner may take to answer."""


@dataclass(slots=True)
class _Mirror:
    """The words of one thread."""

    task: "asyncio.Task[None] | None" = None
    again: asyncio.Event = field(default_factory=asyncio.Event)
    writing: Writing | None = None
    given_up: MessageId = MessageId("")
    """The message of the words that were shown last and given up: they must not be shown as if they were new."""


class Words:
    """Gets words from the owners of runs that are watched here."""

    def __init__(
        self,
        bus: Bus,
        worker_id: WorkerId,
        store: ReplicaStore,
        log: ThreadLog,
        followers: Followers,
        decode: DecodeWords,
    ) -> None:
        self._bus = bus
        self._worker_id = worker_id
        self._store = store
        self._log = log
        self._followers = followers
        self._decode = decode
        self._mirrors: dict[ThreadKey, _Mirror] = {}
        self._woken = asyncio.Event()

    def wake(self, key: ThreadKey) -> None:
        """A thread that is watched here may be worked on elsewhere: get its words."""
        mirror = self._mirrors.setdefault(key, _Mirror())
        mirror.again.set()
        self._woken.set()

    def leave(self, key: ThreadKey) -> None:
        """Nobody watches a thread here any more."""
        mirror = self._mirrors.pop(key, None)
        if mirror is not None:
            self._end(key, mirror)
            if mirror.task is not None:
                mirror.task.cancel()

    def lost_sight(self, key: ThreadKey) -> None:
        """A thread was written to, and nobody here was told what: its words may be those of the past."""
        mirror = self._mirrors.get(key)
        if mirror is not None:
            self._end(key, mirror)
            mirror.again.set()

    def committed(self, committed: Committed, fold: ThreadFold | None) -> None:
        """End what is not being written any more. A listener of the ThreadLog."""
        mirror = self._mirrors.get((committed.tenant, committed.thread_id))
        if mirror is not None and mirror.writing is not None and not _is_written(fold, mirror.writing):
            self._end((committed.tenant, committed.thread_id), mirror)

    async def get(self) -> None:
        """Get words for whoever watches, for ever."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                await self._woken.wait()
                self._woken.clear()  # before reading, or a wake in between is lost
                for key, mirror in self._mirrors.items():
                    if mirror.task is None:
                        mirror.task = tasks.create_task(self._mirror(key, mirror))

    # --- one thread ---

    async def _mirror(self, key: ThreadKey, mirror: _Mirror) -> None:
        """Show the words of a thread for as long as somebody else works on it."""
        try:
            if await self._owner(key) is not None:
                async with (
                    await self._bus.subscribe(subjects.thread_deltas(*key)) as feed,
                    asyncio.TaskGroup() as tasks,
                ):
                    listening = tasks.create_task(self._listen(key, mirror, feed))
                    await self._ask(key, mirror)
                    listening.cancel()
        except* HeddleError as problems:
            _log.info("words are got when the run is heard of again", thread=key[1], problem=str(problems.exceptions))
        finally:
            self._end(key, mirror)
            mirror.task = None
            if mirror.again.is_set():
                self._woken.set()

    async def _listen(self, key: ThreadKey, mirror: _Mirror, feed: Subscription) -> None:
        async for item in feed:
            if isinstance(item, Message) and not self._is_written_here(key, mirror):
                await self._take(key, mirror, item.payload)
            else:
                mirror.again.set()  # and find out that nobody else works on the thread any more, if that is so

    async def _ask(self, key: ThreadKey, mirror: _Mirror) -> None:
        """Ask for the text so far, and for what follows, until nobody else works on the thread."""
        while True:
            mirror.again.clear()  # before reading, or a wake in between is lost
            owner = await self._owner(key)
            if owner is None:
                return
            pause = _RENEW_EVERY if await self._ask_owner(key, mirror, owner) else _SOON
            with suppress(TimeoutError):
                async with asyncio.timeout(pause.total_seconds()):
                    await mirror.again.wait()

    async def _ask_owner(self, key: ThreadKey, mirror: _Mirror, owner: WorkerId) -> bool:
        """Whether the owner will tell."""
        try:
            answer = await self._bus.ask(subjects.control(WHAT, owner), lines_of([key]), deadline=_PATIENCE)
        except HeddleError:  # it is gone, or the bus is
            return False
        if not answer.payload.startswith(MINE):
            return False
        await self._take(key, mirror, answer.payload[len(MINE) :])
        return True

    async def _owner(self, key: ThreadKey) -> WorkerId | None:
        """Who works on the thread, if that is somebody else."""
        owner = (await self._store.owners([key])).get(key)
        return owner if owner != self._worker_id else None

    async def _take(self, key: ThreadKey, mirror: _Mirror, payload: bytes) -> None:
        try:
            words = self._decode(payload)
        except ValueError:
            return
        for delta in words:
            fold = self._log.in_memory(*key)
            if fold is None or fold.last_sequence < delta.after_sequence:
                fold = await self._log.fold(*key)
            known = self._mirrors.get(key) is mirror and _is_written(fold, delta)
            if not known or self._is_written_here(key, mirror):
                continue
            if not self._add(key, mirror, delta):
                mirror.again.set()

    def _add(self, key: ThreadKey, mirror: _Mirror, delta: Delta) -> bool:
        """Show words that continue what is shown; False: there is a hole before them."""
        writing = mirror.writing
        if writing is None or writing.message_id != delta.message_id:
            again = mirror.given_up == delta.message_id
            if delta.offset or (again and not delta.reset):
                return False  # where some were shown, only the owner's whole text so far may replace them
            self._end(key, mirror)
            begun = (delta.run_id, delta.step_id, delta.attempt, delta.message_id, delta.after_sequence)
            writing = Writing(*begun, replaces=True)  # a reader may have been shown them at another replica
            mirror.writing = writing
            self._followers.write_begins(*key, writing)
        known = writing.end(delta.channel, delta.call_id) - delta.offset
        if known < 0:
            return False
        rest = delta.text.encode()[known:]
        if rest:
            writing.add(delta.channel, rest.decode(), delta.call_id)
        return True

    def _is_written_here(self, key: ThreadKey, mirror: _Mirror) -> bool:
        """Whether a run of this process writes on the thread: its words come back over the bus, and are shown already.

        So it is between a takeover and the next question of who the owner is.
        """
        writing = self._followers.writing(*key)
        return writing is not None and writing is not mirror.writing

    def _end(self, key: ThreadKey, mirror: _Mirror) -> None:
        """Whoever comes from now on finds the message in the log, or nowhere."""
        if mirror.writing is not None and self._followers.writing(*key) is mirror.writing:
            self._followers.write_ends(*key)
        if mirror.writing is not None:
            mirror.given_up = mirror.writing.message_id
        mirror.writing = None


def _is_written(fold: ThreadFold | None, words: Delta | Writing) -> bool:
    """Whether the log knows the message of some words as the one that is being written."""
    run = fold.runs.get(words.run_id) if fold is not None else None
    if run is None or run.state is not RunState.RUNNING or run.step is None:
        return False
    said = any(isinstance(each, AgentSaid) and each.message_id == words.message_id for each in run.exchange.entries)
    return run.step.message_id == words.message_id and not run.step.completed and not said
