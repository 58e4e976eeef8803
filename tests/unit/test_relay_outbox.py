"""The relay's order, by itself: whatever is committed meanwhile, each thread's facts are handed out without a gap."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from heddle_bus.port import Acknowledgement
from heddle_core.clock import Micros
from heddle_core.ids import RunId, TenantId, ThreadId, WorkerId
from heddle_runtime.relay.marks import Marks
from heddle_runtime.relay.outbox import Outbox, OutboxLimits
from heddle_runtime.relay.ports import Fact, Facts, StreamNote
from heddle_runtime.relay.shards import SHARDS, Shards, shard_of
from heddle_runtime.threads.events import Event, Unknown
from heddle_runtime.threads.log import Committed, ThreadKey

ACME = TenantId("acme")
FIRST = Micros(1)
ALL_MINE = dict.fromkeys(range(SHARDS), 1)


def key_of(thread: int) -> ThreadKey:
    return (ACME, ThreadId(f"t{thread}"))


def event(sequence: int, size: int = 10) -> Event:
    return Event(sequence, RunId(""), Micros(0), Unknown(), b"", b"", raw=bytes(size))


def encode(thread_id: ThreadId, event: Event) -> Fact:
    return Fact(event.sequence, "Unknown", event.commit_time, event.raw)


def committed(key: ThreadKey, first: int, count: int = 1, size: int = 10) -> Committed:
    return Committed(*key, tuple(event(sequence, size) for sequence in range(first, first + count)))


@dataclass
class World:
    """A log, what was handed out of it, and what a relay does with both."""

    outbox: Outbox
    log: dict[ThreadKey, int] = field(default_factory=dict[ThreadKey, int])
    published: dict[ThreadKey, int] = field(default_factory=dict[ThreadKey, int])

    def commit(self, thread: int, count: int, *, told: bool) -> None:
        """Events of this process, or of another, of which nobody tells."""
        key = key_of(thread)
        first = self.log.get(key, 0) + 1
        self.log[key] = first + count - 1
        if told:
            self.outbox.add(committed(key, first, count))

    def hand_out(self, facts: list[Facts]) -> None:
        for each in facts:
            sequences = [fact.sequence for fact in each.facts]
            start = self.published.get(each.key, 0) + 1
            assert sequences == list(range(start, start + len(sequences))), "a gap, or a repeat"
            self.published[each.key] = start + len(sequences) - 1

    def ready(self) -> None:
        self.hand_out(self.outbox.take_ready(2, 2, 1000))

    def read(self, meanwhile: list[tuple[int, int]]) -> None:
        """Read what is behind, while others commit: half of them before the log was looked at, half behind it."""
        keys = self.outbox.take_behind(2)
        half = len(meanwhile) // 2
        for thread, count in meanwhile[:half]:
            self.commit(thread, count, told=True)
        found: list[Facts] = []
        for key in keys:
            after, last = self.published.get(key, 0), self.log.get(key, 0)
            if after < last:
                upper = min(last, after + 3)
                facts = tuple(encode(key[1], event(sequence)) for sequence in range(after + 1, upper + 1))
                found.append(Facts(key, facts, more=upper < last))
        for thread, count in meanwhile[half:]:
            self.commit(thread, count, told=True)
        for each in found:
            self.outbox.note_read(each)
        self.hand_out(found)

    def sweep(self) -> None:
        for key, last in self.log.items():
            if self.published.get(key, 0) < last and not self.outbox.reaches(key, last):
                self.outbox.add_behind(key)


COMMITS = st.tuples(st.integers(0, 4), st.integers(1, 3))
STEPS = st.one_of(
    st.tuples(st.just("here"), COMMITS),
    st.tuples(st.just("elsewhere"), COMMITS),
    st.tuples(st.just("rung"), COMMITS),
    st.tuples(st.just("ready"), COMMITS),
    st.tuples(st.just("read"), st.lists(COMMITS, max_size=4)),
)


@given(st.lists(STEPS, max_size=60), st.integers(1, 6), st.integers(1, 3), st.integers(1, 3))
def test_facts_of_a_thread_are_handed_out_in_order_and_all_of_them(
    steps: list[tuple[str, object]], events: int, threads: int, positions: int
) -> None:
    world = World(Outbox(encode, OutboxLimits(events=events, threads=threads, positions=positions)))
    world.outbox.open()
    for name, given_ in steps:
        match name, given_:
            case "here", (int(thread), int(count)):
                world.commit(thread, count, told=True)
            case "elsewhere", (int(thread), int(count)):
                world.commit(thread, count, told=False)
            case "rung", (int(thread), _):
                world.outbox.add_behind(key_of(thread))
            case "read", list(meanwhile):
                world.read(meanwhile)
            case _:
                world.ready()
    while world.published != world.log:
        world.ready()
        world.read([])
        if world.outbox.empty:
            world.sweep()


def test_a_closed_outbox_takes_nothing_and_forgets_everything() -> None:
    outbox = Outbox(encode)
    outbox.add(committed(key_of(1), 1))
    outbox.add_behind(key_of(2))
    assert outbox.empty
    outbox.open()
    outbox.add(committed(key_of(1), 1))
    assert outbox.reaches(key_of(1), 1)
    outbox.close()
    assert outbox.empty and not outbox.reaches(key_of(1), 1)


def test_what_is_beyond_the_bounds_is_left_out_and_said_once() -> None:
    outbox = Outbox(encode, OutboxLimits(events=2, threads=1))
    outbox.open()
    for thread in range(4):
        outbox.add(committed(key_of(thread), 1))
    assert len(outbox.take_ready(9, 9, 1000)) == 2
    assert outbox.take_behind(9) == [key_of(2)]
    assert outbox.took_too_much() and not outbox.took_too_much()


def test_large_events_do_not_wait_in_memory() -> None:
    outbox = Outbox(encode, OutboxLimits(bytes=100))
    outbox.open()
    for thread in range(3):
        outbox.add(committed(key_of(thread), 1, size=90))
    assert [each.key for each in outbox.take_ready(9, 9, 1000)] == [key_of(0), key_of(1)]
    assert outbox.behind


def test_a_round_takes_no_more_than_it_should() -> None:
    outbox = Outbox(encode)
    outbox.open()
    for thread in range(5):
        outbox.add(committed(key_of(thread), 1, count=10, size=100))
    first = outbox.take_ready(2, 4, 10_000)
    assert [(each.key, len(each.facts)) for each in first] == [(key_of(0), 4), (key_of(1), 4)]
    assert [each.key for each in outbox.take_ready(9, 99, 1500)] == [key_of(2), key_of(3)], "bytes end a round, too"
    assert [len(each.facts) for each in outbox.take_ready(9, 99, 10_000)] == [10, 6, 6], "the others are at the end"


def test_marks_go_to_the_database_in_order_and_for_own_threads_only() -> None:
    marks, shards = Marks(), Shards()
    theirs = key_of(2)
    mine = {shard: 7 for shard in ALL_MINE if shard != shard_of(theirs)}
    shards.take_note(mine, {shard_of(theirs): WorkerId("wrk_2")}, frozenset())
    for key, sequence in ((key_of(3), 4), (theirs, 9), (key_of(1), 2), (key_of(1), 5), (key_of(1), 3)):
        marks.note(key, sequence)
    marks.note_stream(FIRST, Acknowledgement(8, duplicate=False), "m8")
    marks.note_stream(FIRST, Acknowledgement(5, duplicate=True), "m5")
    assert marks.position(key_of(1)) == 5 and len(marks) == 3
    taken, stream = marks.take(shards)
    assert [(mark.key, mark.sequence, mark.fence) for mark in taken] == [(key_of(1), 5, 7), (key_of(3), 4, 7)]
    assert stream == StreamNote(FIRST, 8, "m8")
    assert marks.take(shards) == ([], None)


def test_marks_that_could_not_be_written_are_kept_beside_what_came_since() -> None:
    marks, shards = Marks(), Shards()
    shards.take_note(ALL_MINE, {}, frozenset())
    marks.note(key_of(1), 5)
    marks.note(key_of(2), 5)
    taken = marks.take(shards)
    marks.note(key_of(1), 6)
    marks.put_back(*taken)
    assert [(mark.key, mark.sequence) for mark in marks.take(shards)[0]] == [(key_of(1), 6), (key_of(2), 5)]
