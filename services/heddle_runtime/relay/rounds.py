"""Publishing one round of facts: as messages, in order per thread, with what comes of each thread noted."""

from dataclasses import replace

from heddle_bus.port import Acknowledgement, Bus, Progress, Publication
from heddle_core.clock import Micros
from heddle_core.errors import InvalidField, RequestTooLarge, ServiceUnreachable
from heddle_core.failpoints import failpoint
from heddle_core.faults import HeddleError
from heddle_core.log_lines import LogLines
from heddle_runtime.relay.marks import Marks
from heddle_runtime.relay.ports import Fact, Facts
from heddle_runtime.relay.publications import REDACTED, of_thread, publication
from heddle_runtime.threads.log import ThreadKey

_log = LogLines(__name__)


class Rounds:
    """Publishes to one incarnation of the stream."""

    def __init__(self, bus: Bus, marks: Marks, log_epoch: int, created: Micros, connection: int) -> None:
        """`created` is when the stream was, as it was judged over the `connection` of this number.

        Behind another connection may be an old copy of the stream, where what comes next would leave a gap that
        nobody fills before it is judged; so nothing is written over any other.
        """
        self._bus = bus
        self._connection = connection
        self._marks = marks
        self._log_epoch = log_epoch
        self._created = created
        self._highest = 0

    async def publish(self, round_: list[Facts]) -> list[ThreadKey]:
        """Publish all facts, and note how far each thread came; returns threads of which some were put off.

        Raises ServiceUnreachable or DeadlinePassed when it is unknown what became of some of them, and
        ServiceUnreachable when the stream turns out to be another.
        """
        given = [_up_to_redaction(each) for each in round_]
        put_off = [facts.key for facts, each in zip(given, round_, strict=True) if facts is not each]
        queues = [self._queue(each) for each in given]
        progress = await self._bus.publish_in_order(queues, over=self._connection)
        failpoint("published_unmarked")
        fault: HeddleError | None = None
        for facts, queue, came in zip(given, queues, progress, strict=True):
            self._note(facts, queue, came)
            if isinstance(came.fault, RequestTooLarge):
                await self._refer_to_log(facts.key, facts.facts[came.stored])
                put_off.append(facts.key)
            elif came.fault is not None:
                fault = came.fault
            elif came.last is not None and any(fact.kind == REDACTED for fact in facts.facts):
                # Consumers that lack what goes with it read it from the log, where the words are gone.
                await self._purge(facts.key, came.last)
        if fault is not None:
            raise fault
        self._check_stream([came.last for came in progress if came.last is not None])
        return put_off

    async def publish_deletion(self, key: ThreadKey, fact: Fact) -> None:
        """Publish that a thread was deleted, and remove all else that the stream has of it. Raises as `publish`."""
        stored = await self._store(publication(self._log_epoch, key, fact))
        await self._purge(key, stored)

    def _queue(self, facts: Facts) -> list[Publication]:
        try:
            return [publication(self._log_epoch, facts.key, fact) for fact in facts.facts]
        except InvalidField as fault:  # the tenant's name is reserved on the bus
            _log.error("events cannot be published", tenant=facts.key[0], thread=facts.key[1], problem=str(fault))
            self._marks.note(facts.key, facts.facts[-1].sequence)
            return []

    def _note(self, facts: Facts, queue: list[Publication], came: Progress) -> None:
        if came.last is None:
            return
        self._marks.note(facts.key, facts.facts[came.stored - 1].sequence)
        self._marks.note_stream(self._created, came.last, queue[came.stored - 1].message_id)

    async def _refer_to_log(self, key: ThreadKey, fact: Fact) -> None:
        """Publish, in place of an event that the bus does not take, that there is one."""
        _log.info("an event is too large for the bus", tenant=key[0], thread=key[1], sequence=fact.sequence)
        message = publication(self._log_epoch, key, replace(fact, payload=b""))
        stored = await self._store(message)
        self._marks.note(key, fact.sequence)
        self._marks.note_stream(self._created, stored, message.message_id)

    async def _store(self, message: Publication) -> Acknowledgement:
        return await self._bus.publish(
            message.subject,
            message.payload,
            message_id=message.message_id,
            headers=message.headers,
            over=self._connection,
        )

    async def _purge(self, key: ThreadKey, stored: Acknowledgement) -> None:
        await self._bus.purge(of_thread(key), before=stored.stream_sequence, over=self._connection)

    def _check_stream(self, acknowledged: list[Acknowledgement]) -> None:
        """Places in a stream only rise: where they do not, somebody has put another in its place."""
        fresh = [each.stream_sequence for each in acknowledged if not each.duplicate]
        if fresh and min(fresh) <= self._highest:
            raise ServiceUnreachable("the event stream", "it was replaced while it was published to")
        self._highest = max([self._highest, *fresh])


def _up_to_redaction(facts: Facts) -> Facts:
    """The facts up to the first redaction: what is in front of it goes from the stream, and what is behind it stays."""
    for place, fact in enumerate(facts.facts[:-1], start=1):
        if fact.kind == REDACTED:
            return replace(facts, facts=facts.facts[:place], more=True)
    return facts
