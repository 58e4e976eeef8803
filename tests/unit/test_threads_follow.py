"""Words on their way to readers: merged while nobody takes them, never lost, and in their place among the facts."""

import asyncio

from heddle_core.clock import Micros
from heddle_core.ids import CallId, MessageId, RunId, StepId, TenantId, ThreadId
from heddle_runtime.threads.deltas import Channel, Delta, Writing
from heddle_runtime.threads.events import Event, StepStarted
from heddle_runtime.threads.follow import MOST_EVENTS, Follower, Followers, Item
from heddle_runtime.threads.log import Committed
from heddle_runtime.threads.pace import SHORTEST

ACME, THREAD, RUN = TenantId("acme"), ThreadId("t1"), RunId("r1")


def writing(message: str = "m1", after: int = 3) -> Writing:
    return Writing(RUN, StepId("s1"), 1, MessageId(message), after)


def fact(sequence: int) -> Event:
    return Event(sequence, RUN, Micros(1), StepStarted(StepId("s1"), 1, 1, MessageId("m1")), raw=b"raw")


def commit(followers: Followers, *sequences: int) -> None:
    followers.committed(Committed(ACME, THREAD, tuple(fact(each) for each in sequences)), None)


def texts(items: list[Item]) -> list[tuple[int, str] | int]:
    return [(each.offset, each.text) if isinstance(each, Delta) else each.sequence for each in items]


def told(followers: Followers, words: Writing, *pieces: str) -> None:
    followers.write_begins(ACME, THREAD, words)
    for piece in pieces:
        words.add(Channel.TEXT, piece)


async def test_words_that_wait_together_travel_as_one_with_offsets_in_bytes() -> None:
    followers = Followers()
    with followers.join(ACME, THREAD) as reader:
        words = writing()
        told(followers, words, "für ", "dich")
        assert reader.doorbell.is_set()
        (first,) = reader.take(0)
        assert first == Delta(RUN, StepId("s1"), 1, MessageId("m1"), Channel.TEXT, 0, "für dich", 3)
        words.add(Channel.TEXT, " und mich")
        assert texts(reader.take(0)) == [(9, " und mich")]


async def test_words_stand_where_they_were_said_among_the_facts() -> None:
    followers = Followers()
    with followers.join(ACME, THREAD) as reader:
        commit(followers, 1)
        words = writing()
        told(followers, words, "a", "b")
        commit(followers, 2, 3)
        words.add(Channel.TEXT, "c")
        words.add(Channel.TOOL_ARGUMENTS, "{", CallId("c1"))
        words.add(Channel.TOOL_ARGUMENTS, "}", CallId("c1"))
        words.add(Channel.TEXT, "d")
        assert texts(reader.take(0)) == [1, (0, "ab"), 2, 3, (2, "c"), (0, "{}"), (3, "d")]


async def test_each_reader_gets_all_words_however_often_it_takes() -> None:
    followers = Followers()
    with followers.join(ACME, THREAD) as eager, followers.join(ACME, THREAD) as idle:
        words = writing()
        followers.write_begins(ACME, THREAD, words)
        taken: list[Item] = []
        for piece in "abcdef":
            words.add(Channel.TEXT, piece)
            taken += eager.take(0)
        assert texts(taken) == [(place, piece) for place, piece in enumerate("abcdef")]
        assert texts(idle.take(0)) == [(0, "abcdef")]


async def test_who_joins_in_the_middle_gets_the_words_so_far_and_then_the_rest() -> None:
    followers = Followers()
    words = writing()
    told(followers, words, "ab", "cd")
    with followers.join(ACME, THREAD, last_sequence=7) as reader:
        words.add(Channel.TEXT, "ef")
        so_far, rest = reader.take(7)
    assert isinstance(so_far, Delta) and isinstance(rest, Delta)
    assert (so_far.text, so_far.offset, so_far.reset, so_far.after_sequence) == ("abcd", 0, True, 7)
    assert (rest.text, rest.offset, rest.reset) == ("ef", 4, False)


async def test_first_words_ring_at_once_and_more_of_them_ring_together_soon() -> None:
    followers = Followers()
    with followers.join(ACME, THREAD) as reader:
        words = writing()
        told(followers, words, "a")
        assert reader.doorbell.is_set()
        reader.take(0)
        began = asyncio.get_running_loop().time()
        words.add(Channel.TEXT, "b")
        words.add(Channel.TEXT, "c")
        assert not reader.doorbell.is_set()
        async with asyncio.timeout(5):
            await reader.doorbell.wait()
        assert asyncio.get_running_loop().time() - began > SHORTEST / 2
        assert texts(reader.take(0)) == [(1, "bc")]
        told(followers, writing("m2"), "x")
        assert reader.doorbell.is_set(), "another message's first words do not wait"


async def test_a_fact_does_not_wait_for_words() -> None:
    followers = Followers()
    with followers.join(ACME, THREAD) as reader:
        words = writing()
        told(followers, words, "a")
        reader.take(0)
        words.add(Channel.TEXT, "b")
        commit(followers, 1)
        assert reader.doorbell.is_set() and texts(reader.take(0)) == [(1, "b"), 1]


async def test_who_has_left_is_told_nothing() -> None:
    followers = Followers()
    words = writing()
    told(followers, words, "a")
    with followers.join(ACME, THREAD) as reader:
        reader.take(0)
    words.add(Channel.TEXT, "b")
    assert not reader.doorbell.is_set() and reader.take(0) == []
    followers.write_ends(ACME, THREAD)
    with followers.join(ACME, THREAD) as late:
        assert late.take(0) == [], "what was abandoned is not shown"


async def test_words_do_not_cut_a_reader_that_facts_have_not_overrun() -> None:
    followers = Followers()
    with followers.join(ACME, THREAD) as reader:
        words = writing()
        followers.write_begins(ACME, THREAD, words)
        for sequence in range(1, MOST_EVENTS + 1):
            words.add(Channel.TEXT, "x")
            commit(followers, sequence)
        assert _sequences(reader) == list(range(1, MOST_EVENTS + 1))


def _sequences(reader: Follower) -> list[int]:
    return [each.sequence for each in reader.take(0) if isinstance(each, Event)]


def test_long_words_travel_in_parts_that_are_cut_between_characters() -> None:
    whole = Delta(RUN, StepId("s"), 1, MessageId("m"), Channel.TEXT, 5, "äöüß", 3, reset=True)
    parts = list(whole.parts(3))
    assert [(each.offset, each.text, each.reset) for each in parts] == [(5, "äöü", True), (11, "ß", False)]
    assert parts[-1].end == whole.end
