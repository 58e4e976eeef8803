"""The words of runs that are worked on here, for those who watch at other replicas: only while somebody does.

A replica that has watchers asks for the text so far, and with that for what follows during the next seconds; it asks
again for as long as somebody watches there.
"""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

from heddle_bus import subjects
from heddle_bus.port import Bus, Message
from heddle_core.faults import HeddleError
from heddle_core.ids import WorkerId
from heddle_core.log_lines import LogLines
from heddle_runtime.replicas.doorbells import keys_of
from heddle_runtime.replicas.ports import EncodeWords, Work
from heddle_runtime.threads.deltas import Delta
from heddle_runtime.threads.follow import Follower, Followers
from heddle_runtime.threads.log import ThreadKey

_log = LogLines(__name__)

WHAT = "words"
"""The control subject on which a worker is asked for words."""
MINE = b"+"
"""What an answer begins with where the thread is worked on; an empty answer says that it is not."""
TOLD_FOR = timedelta(seconds=15)
"""How long words are told after they were asked for."""

_MOST_CHARACTERS = 128 * 1024
"""Words of one message on the bus: at most 4 bytes each, so that a stock server's bound of 1 MiB is kept."""


class Telling:
    """Answers questions for words, and sends those that follow."""

    def __init__(self, bus: Bus, worker_id: WorkerId, followers: Followers, work: Work, encode: EncodeWords) -> None:
        self._bus = bus
        self._worker_id = worker_id
        self._followers = followers
        self._work = work
        self._encode = encode
        self._until: dict[ThreadKey, float] = {}

    async def answer(self) -> None:
        """Answer questions, for ever."""
        self._until.clear()
        asked = await self._bus.subscribe(subjects.control(WHAT, self._worker_id))
        async with asked as feed, asyncio.TaskGroup() as tasks:
            async for item in feed:
                if isinstance(item, Message):
                    await self._answer(item, tasks)

    async def _answer(self, question: Message, tasks: asyncio.TaskGroup) -> None:
        for key in keys_of(question.payload)[:1]:
            if not self._work.works_on(*key):
                await self._bus.answer(question, b"")
                continue
            if key not in self._until:
                tasks.create_task(self._tell(key, self._followers.join_for_others(*key)))
            self._until[key] = asyncio.get_running_loop().time() + TOLD_FOR.total_seconds()
            writing = self._followers.writing(*key)
            so_far = _pieces(writing.so_far(writing.after_sequence) if writing else [])
            await self._bus.answer(question, MINE + self._encode(so_far[:1]))
            await self._send(key, so_far[1:])

    async def _tell(self, key: ThreadKey, follower: Follower) -> None:
        """Send the words of a thread until nobody asks for them any more."""
        try:
            with follower:
                while (until := self._until[key]) > asyncio.get_running_loop().time():
                    try:
                        async with asyncio.timeout_at(until):
                            await follower.doorbell.wait()
                    except TimeoutError:
                        continue
                    await self._send(key, _pieces(_words(follower)))
        except HeddleError as error:
            _log.info("words are told again when they are asked for", reason=error.reason, problem=str(error))
        finally:
            del self._until[key]

    async def _send(self, key: ThreadKey, words: Sequence[Delta]) -> None:
        for batch in _batches(words):
            await self._bus.send(subjects.deltas(*key, batch[0].run_id), self._encode(batch))


def _words(follower: Follower) -> list[Delta]:
    return [item for item in follower.take(0) if isinstance(item, Delta)]


def _pieces(words: Sequence[Delta]) -> list[Delta]:
    """The same words in pieces that fit into a message each."""
    return [part for each in words for part in each.parts(_MOST_CHARACTERS)]


def _batches(words: Sequence[Delta]) -> list[list[Delta]]:
    """Words of one run, together as far as a message holds."""
    batches: list[list[Delta]] = []
    size = 0
    for each in words:
        size += len(each.text)
        if not batches or size > _MOST_CHARACTERS or batches[-1][0].run_id != each.run_id:
            batches.append([])
            size = len(each.text)
        batches[-1].append(each)
    return batches
