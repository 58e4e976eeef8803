"""The relay: from the log to the bus, in order per thread, at least once, for ever (SEMANTICS 30, 31).

It works in rounds. What was committed while one round was published makes up the next, so that load makes rounds
larger and not more; nothing that commits ever waits for it. After any doubt it forgets what it knows and asks the
database for the backlog; so an outage costs no memory, and the end of one is the start of a process.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import field
from datetime import timedelta

from heddle_bus.observed import Observed
from heddle_bus.port import Bus
from heddle_core.background import in_background
from heddle_core.clock import Clock, Micros, micros
from heddle_core.errors import ServiceUnreachable
from heddle_core.faults import HeddleError
from heddle_core.ids import WorkerId
from heddle_core.log_lines import LogLines
from heddle_core.values import value
from heddle_runtime.relay.brokers import Brokers, warn
from heddle_runtime.relay.doorbells import ShardDoorbells
from heddle_runtime.relay.marks import Marks
from heddle_runtime.relay.outbox import Outbox, OutboxLimits
from heddle_runtime.relay.ports import EncodeEvent, EncodeTombstone, Facts, RelayStore, Standing
from heddle_runtime.relay.rounds import Rounds
from heddle_runtime.relay.shards import Shards
from heddle_runtime.relay.stream_identity import StreamVerdict, judge
from heddle_runtime.threads.log import Committed, ThreadKey
from heddle_runtime.threads.state import ThreadFold

_log = LogLines(__name__)

_BACKLOG_PAGE = 1_000
_LEASE_IS_OVER = 0.05
"""Seconds behind a lease's end, when it has certainly ended."""
_TOMBSTONES = 100
"""Deletions that one sweep publishes."""


@value
class RelaySettings:
    """How the relay works."""

    stream_age: timedelta = timedelta(days=3)
    """The age limit of the stream: what is older is not published again when the stream was lost."""
    sole_process: bool = True
    """Whether the database admits no other process, so that all shards are this one's."""
    sweep_every: timedelta = timedelta(seconds=10)
    """How often it looks for what no doorbell told of."""
    aside_every: timedelta = timedelta(seconds=2)
    """How often it looks whether it may publish, while others do to another server."""
    leave_after: timedelta = timedelta(seconds=15)
    """Without the bus: others may reach it."""
    mark_every: timedelta = timedelta(milliseconds=500)
    """How long what is published may stay unmarked."""
    gather_for: timedelta = timedelta(milliseconds=10)
    """How long the first event of a round waits for others: sixteen together cost a quarter of what they cost apart."""
    threads_a_round: int = 256
    threads_a_read: int = 256
    events_a_thread: int = 64
    bytes_a_round: int = 8 * 1024 * 1024
    """Most that one round publishes; one event is always taken."""
    most_unmarked: int = 1_000
    first_pause: timedelta = timedelta(milliseconds=50)
    longest_pause: timedelta = timedelta(seconds=2)
    """Between two attempts, while something is in trouble."""
    last_words: timedelta = timedelta(seconds=1)
    """How long it may go on publishing when it is to end."""
    limits: OutboxLimits = field(default_factory=OutboxLimits)


class Relay:
    """Publishes what is committed."""

    def __init__(
        self,
        worker_id: WorkerId,
        store: RelayStore,
        bus: Bus,
        clock: Clock,
        encode: EncodeEvent,
        encode_tombstone: EncodeTombstone,
        settings: RelaySettings | None = None,
    ) -> None:
        self._worker_id = worker_id
        self._store = store
        self._bus = bus
        self._clock = clock
        self._encode_tombstone = encode_tombstone
        self._settings = settings or RelaySettings()
        self._outbox = Outbox(encode, self._settings.limits)
        self._marks = Marks()
        self._shards = Shards()
        self._brokers = Observed(Brokers())
        self._doorbells = ShardDoorbells(bus, worker_id)
        self._bell = asyncio.Event()
        self._at_rest = asyncio.Event()
        self._connection = 0
        self._stream = Micros(0)
        self._cursor: ThreadKey | None = None
        self._backlog_read = True
        self._sweep_at = 0.0
        self._mark_at = 0.0

    @property
    def brokers(self) -> Observed[Brokers]:
        """Whether the other relays that live stand on the same server, as far as this one has looked."""
        return self._brokers

    def committed(self, committed: Committed, fold: ThreadFold | None) -> None:
        """Take note of a commit. A listener of the ThreadLog."""
        key = (committed.tenant, committed.thread_id)
        if self._shards.owns(key):
            self._outbox.add(committed)
        else:
            self._doorbells.add(key)
        self._at_rest.clear()
        self._bell.set()

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator[None]:
        """Publish until the block is left; then mark what was published, and give the shards away."""
        work = {
            "the relay": self._work,
            "watching the relay's connection": self._watch_connection,
            "hearing the relay's rings": self._answer,
            "warning of a second stream": lambda: warn(self._brokers, self._settings.aside_every),
        }
        try:
            async with in_background(work):
                try:
                    yield
                finally:
                    await self._settle()
        finally:
            await self._farewell()

    # --- the tasks ---

    async def _work(self) -> None:
        pause = self._settings.first_pause
        while True:
            try:
                await self._connected()
                rounds = await self._begin()
                pause = self._settings.first_pause
                if rounds is None:
                    await self._stay_aside()
                    continue
                await self._relay(rounds)
            except HeddleError as error:
                _log.info("the relay begins again", reason=error.reason, problem=str(error))
            except Exception:
                _log.exception("the relay begins again after an unexpected fault")
            self._outbox.close()
            await asyncio.sleep(pause.total_seconds())
            pause = min(pause * 2, self._settings.longest_pause)

    async def _connected(self) -> None:
        """Wait for the bus, and after a while without it leave the shards to those who may reach it."""
        connection = self._bus.connection
        if not self._settings.sole_process:
            try:
                async with asyncio.timeout(self._settings.leave_after.total_seconds()):
                    await connection.until(lambda state: state.durable)
            except TimeoutError:
                await self._write_marks()
                await self._store.leave(self._worker_id)
                self._shards.take_note({}, {}, frozenset())
                self._brokers.set(Brokers())
        await connection.until(lambda state: state.durable)

    async def _watch_connection(self) -> None:
        known = self._bus.connection.value
        while True:
            known = await self._bus.connection.change_from(known)
            self._bell.set()

    async def _answer(self) -> None:
        """Have threads read that others have written to; sweep when shards changed hands, or rings were lost."""
        async with self._doorbells.listen() as rings:
            async for keys in rings:
                for key in keys:
                    if self._shards.owns(key):
                        self._outbox.add_behind(key)
                if not keys:
                    self._sweep_at = 0.0
                self._bell.set()

    # --- from a connection to its end ---

    async def _begin(self) -> Rounds | None:
        """Find out where the relay stands, and have the backlog read; None: it has to stand aside."""
        self._connection = self._bus.connection.value.count
        self._sweep_at = self._now() + self._settings.sweep_every.total_seconds()  # before looking, as with the bell
        await self._write_marks()
        self._stream = (await self._bus.identity()).created
        known = self._brokers.value
        standing = await self._stand()
        if standing.brokers.aside:
            if standing.brokers != known:
                await self._doorbells.announce(self._shards)  # a peer on this very server looks, and stands here, too
            return None
        verdict, stream = await judge(self._bus, standing.stream)
        self._check_stream(stream.created)
        if verdict is StreamVerdict.REPLACED:
            _log.warning("the event stream was lost or replaced: what is young enough is published again")
            self._marks.forget()
            await self._rewind()
        if verdict is not StreamVerdict.SAME:
            if not await self._store.adopt(standing.stream, stream.created):
                raise ServiceUnreachable("the event stream", "others have agreed on another one meanwhile")
            standing = await self._stand()
        self._outbox.open()
        rounds = Rounds(self._bus, self._marks, standing.log_epoch, stream.created, self._connection)
        await self._doorbells.announce(self._shards)
        await self._sweep(rounds)
        return rounds

    async def _stay_aside(self) -> None:
        """Wait until it is time to look again, or somebody rings: whoever stands on another server cannot."""
        look_at = self._now() + self._settings.aside_every.total_seconds()
        while self._now() < min(look_at, self._sweep_at) and self._bus.connection.value.count == self._connection:
            self._at_rest.set()
            try:
                async with asyncio.timeout_at(look_at):
                    await self._bell.wait()
            except TimeoutError:
                return
            self._bell.clear()

    async def _relay(self, rounds: Rounds) -> None:
        while True:
            self._bell.clear()  # before looking, or a ring in between is lost
            self._check_connection()
            if self._now() >= self._sweep_at:
                self._sweep_at = self._now() + self._settings.sweep_every.total_seconds()
                self._check_stream((await self._bus.identity()).created)
                await self._look_at_shards()
                await self._sweep(rounds)
            for key in await self._doorbells.ring(self._shards):  # behind that look, which may tell whose shard it is
                self._outbox.add_behind(key)
            await self._read_backlog()
            facts = await self._next_facts()
            if facts:
                await self._publish(rounds, facts)
            if self._marks_due():
                await self._write_marks()
            if self._outbox.empty and self._backlog_read:
                await self._rest()
                await asyncio.sleep(self._settings.gather_for.total_seconds())

    async def _publish(self, rounds: Rounds, facts: list[Facts]) -> None:
        if not self._marks:
            self._mark_at = self._now() + self._settings.mark_every.total_seconds()
        for key in await rounds.publish(facts):
            self._outbox.add_behind(key)

    async def _next_facts(self) -> list[Facts]:
        """What is in memory, and as much of the log as there is room for beside it."""
        most = self._settings
        facts = self._outbox.take_ready(most.threads_a_round, most.events_a_thread, most.bytes_a_round)
        keys = self._outbox.take_behind(min(most.threads_a_round - len(facts), most.threads_a_read))
        if keys:
            wanted = {key: self._marks.position(key) for key in keys}
            for read in await self._store.read_facts(wanted, most.events_a_thread, most.bytes_a_round):
                self._outbox.note_read(read)
                if read.facts:
                    facts.append(read)
        return facts

    # --- the nets ---

    async def _sweep(self, rounds: Rounds) -> None:
        """Look for everything that no doorbell told of."""
        await self._write_marks()
        await self._publish_deletions(rounds)
        self._cursor, self._backlog_read = None, False

    async def _read_backlog(self) -> None:
        if self._outbox.took_too_much():
            await self._write_marks()  # or what is published would be found again
            self._cursor, self._backlog_read = None, False
        if self._backlog_read or self._outbox.behind:
            return
        page = await self._store.read_backlog(self._cursor, _BACKLOG_PAGE)
        for key, last in page:
            if self._shards.owns(key) and not self._outbox.reaches(key, last):
                self._outbox.add_behind(key)
        self._cursor = page[-1][0] if page else None
        self._backlog_read = len(page) < _BACKLOG_PAGE

    async def _publish_deletions(self, rounds: Rounds) -> None:
        for each in await self._store.read_tombstones(_TOMBSTONES):
            key = (each.tenant, each.thread_id)
            if self._shards.owns(key):
                self._outbox.drop(key)
                await rounds.publish_deletion(key, self._encode_tombstone(each))
                await self._store.mark_deleted(each.tenant, each.thread_id)

    async def _rewind(self) -> None:
        """Have everything published again that the stream would still hold (SEMANTICS 31)."""
        since = Micros(self._clock.now() - micros(self._settings.stream_age))
        after = await self._store.rewind(since, None)
        while after is not None:
            after = await self._store.rewind(since, after)

    async def _look_at_shards(self) -> None:
        """Take what others left, and leave what is beyond this worker's share, for them to take."""
        if self._settings.sole_process:
            return
        await self._write_marks()  # under the fences of their time, before others are known
        held = self._shards.held
        standing = await self._stand()
        if standing.brokers.aside:
            raise ServiceUnreachable("the event stream", "others publish to another one by now")
        if self._shards.held != held:
            await self._doorbells.announce(self._shards)

    async def _stand(self) -> Standing:
        standing = await self._store.stand(self._worker_id, self._stream, sole_process=self._settings.sole_process)
        self._shards.take_note(standing.fences, standing.owners, standing.peers)
        if standing.lease_ends_in is not None:
            self._sweep_at = min(self._sweep_at, self._now() + standing.lease_ends_in.total_seconds() + _LEASE_IS_OVER)
        self._brokers.set(standing.brokers)
        return standing

    # --- marks ---

    def _marks_due(self) -> bool:
        return bool(self._marks) and (len(self._marks) >= self._settings.most_unmarked or self._now() >= self._mark_at)

    async def _write_marks(self) -> None:
        """Write how far threads are published. What another owner has meanwhile is his to publish again."""
        marks, stream = self._marks.take(self._shards)
        if not marks and stream is None:
            return
        try:
            lost = await self._store.mark(self._worker_id, marks, stream)
        except HeddleError:
            self._marks.put_back(marks, stream)
            raise
        if lost:
            raise ServiceUnreachable("the relay's shards", f"{len(lost)} of them changed hands")

    async def _settle(self) -> None:
        """Let the last events out, if that is soon done: what stays is published by whoever comes next."""
        if not self._bus.connection.value.durable:
            return
        try:
            async with asyncio.timeout(self._settings.last_words.total_seconds()):
                await self._at_rest.wait()
        except TimeoutError:
            _log.info("what is not published yet is left to the next start")

    async def _farewell(self) -> None:
        """Leave things in order; if that fails, others find out by the lease."""
        try:
            await self._write_marks()
            await self._store.leave(self._worker_id)
            await self._doorbells.announce(self._shards)
        except HeddleError as error:
            _log.info("the relay leaves without a word", reason=error.reason, problem=str(error))

    # --- waiting ---

    async def _rest(self) -> None:
        """Wait for a bell, or until something is due."""
        self._at_rest.set()
        due = min(self._sweep_at, self._mark_at) if self._marks else self._sweep_at
        try:
            async with asyncio.timeout_at(due):
                await self._bell.wait()
        except TimeoutError:
            return

    def _check_connection(self) -> None:
        state = self._bus.connection.value
        if not state.durable or state.count != self._connection:
            raise ServiceUnreachable("the event stream", state.problem or "it was connected anew")

    def _check_stream(self, created: Micros) -> None:
        if created != self._stream:
            raise ServiceUnreachable("the event stream", "it is another than the relay has told the others")

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
