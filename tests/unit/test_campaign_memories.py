"""Which memories a turn is given, in which order and why; and how they fade."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heddle.campaign.v1alpha1 import memory_pb2
from heddle_campaign.rules.memories import (
    HALF_LIFE,
    Memory,
    MemoryKind,
    Ranked,
    Wanted,
    faded,
    rank,
    with_words,
    worth,
)
from heddle_campaign.rules.words import SHORTEST, content_type, terms
from heddle_core.clock import Micros
from tests.kit.schedules import DAY, at

NOW = at("2026-06-01 12:00")


def _memory(name: str, **changes: object) -> Memory:
    return replace(Memory(name, MemoryKind.OUTCOME, name, NOW), **changes)  # pyright: ignore[reportArgumentType]


def _ranked(memories: Iterable[Memory], wanted: Wanted = Wanted()) -> tuple[Ranked, ...]:
    return rank([with_words(each, wanted.words) for each in memories], wanted, NOW)


def _order(*memories: Memory, wanted: Wanted = Wanted()) -> list[str]:
    return [each.memory.memory_id for each in _ranked(memories, wanted)]


@pytest.mark.parametrize(
    "better",
    [
        {"kind": MemoryKind.WINNER},
        {"importance": 0.9},
        {"confidence": 0.9},
        {"performance": 0.4},
        {"platform": "x"},
        {"content_type": "video"},
        {"text": "Rainy days sell coats"},
        {"tags": ("coats",)},
    ],
)
def test_each_part_counts_and_alone_decides(better: dict[str, object]) -> None:
    wanted = Wanted("x", "video", terms("coats for rainy autumn"))
    assert _order(_memory("a"), _memory("b", **better), wanted=wanted) == ["b", "a"]


def test_pinned_memories_go_before_all_others_whatever_they_are_about() -> None:
    best = _memory("best", kind=MemoryKind.WINNER, platform="x", importance=1.0, confidence=1.0, performance=1.0)
    pinned = _memory("pinned", platform="tiktok", importance=0.0, learned=Micros(0), pinned=True)
    told = _ranked([best, pinned], Wanted("x"))
    assert [each.memory.memory_id for each in told] == ["pinned", "best"]
    assert told[0].explanation == "pinned; outcome"
    assert told[1].explanation == "same platform; winner; important; sure; recent; performed well"


def test_what_is_about_another_platform_is_left_out_and_another_type_only_comes_later() -> None:
    others = _memory("a", platform="y"), _memory("b", content_type="image"), _memory("c", content_type="video")
    assert _order(*others, wanted=Wanted("x", "video")) == ["c", "b"]
    told = _ranked(others, Wanted("x", "video"))
    assert ["same type" in each.reasons for each in told] == [True, False]


def test_the_words_that_it_was_found_by_are_told() -> None:
    (told,) = _ranked([_memory("a", text="Coats sell on rainy days")], Wanted(words=terms("a rainy day for coats")))
    assert told.reasons[-1] == "about coats, rainy"


def test_words_that_say_nothing_find_nothing() -> None:
    memory = _memory("a", text="How to go on and what there is to do about nothing, for you and them: use the_one well")
    (told,) = _ranked([memory], Wanted(words=terms("And now, how about nothing for them? Make the most of it.")))
    assert told.explanation == "outcome; recent"


@given(st.text("aBcÄß_ -9\u0130", max_size=40))
def test_a_word_is_a_run_of_letters_and_digits_that_is_long_enough(text: str) -> None:
    runs = "".join(each if each.isalnum() else " " for each in text.casefold()).split()
    assert terms(text, "the the") == {each for each in runs if len(each) >= SHORTEST}


class Read(str):
    """A text that counts how often its words are looked for."""

    times = 0

    def casefold(self) -> str:
        self.times += 1
        return super().casefold()


def test_the_words_of_a_memory_are_split_once_for_however_many_turns() -> None:
    text = Read("Coats sell on rainy days")
    better = [_memory(f"m{each}", importance=1.0) for each in range(8)]
    wanted = [terms(f"{role} of coats") for role in ("writer", "artist", "editor")]
    memories = [*better, _memory("worst", text=text, importance=0.0)]
    known = [with_words(each, frozenset().union(*wanted)) for each in memories]
    for words in wanted:
        assert len(rank(known, Wanted(words=words), NOW)) == 8
    assert text.times == 1


def test_a_word_that_most_memories_share_tells_none_from_the_others() -> None:
    known = [_memory(f"m{each}", text=f"Schuhe sind nicht alles: {each}", tags=("writer",)) for each in "abcd"]
    rainy = _memory("rain", text="Schuhe bei Regen")
    told = _ranked([*known, rainy], Wanted(words=terms("Schuhe für nicht jeden Regen, writer")))
    assert {each.memory.memory_id: each.reasons[-1] for each in told} == {
        "rain": "about regen",
        **dict.fromkeys(("ma", "mb", "mc", "md"), "recent"),
    }
    few = _ranked([*known[:2], rainy], Wanted(words=terms("Schuhe")))
    assert {each.reasons[-1] for each in few} == {"about schuhe"}


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (("video", "Make pictures", "blogs"), "video"),
        (("ada", "Make short films of shoes", "a photo fair"), "video"),
        (("ada", "Film and photo", "a podcast"), ""),
        (("ada", "Tell the news.", "Podcasts for runners"), "audio"),
        (("writer",), "text"),
        (("filmography", "imagery"), ""),
    ],
)
def test_the_kind_of_content_is_that_of_the_first_text_that_names_one(texts: tuple[str, ...], kind: str) -> None:
    assert content_type(*texts) == kind


def test_at_most_eight_are_given_and_ties_go_to_the_newer() -> None:
    memories = [_memory(f"m{each}", importance=0.0, learned=Micros(NOW + each)) for each in range(12)]
    assert _order(*memories) == [f"m{each}" for each in range(11, 3, -1)]


def test_what_several_memories_say_is_given_once_by_the_best_of_them() -> None:
    same = (
        _memory("a", text="Post early."),
        _memory("b", text="post EARLY.", importance=1.0),
        _memory("c", text="Rest."),
    )
    assert {each.memory.memory_id for each in _ranked(same)} == {"b", "c"}


def test_a_memory_fades_by_half_in_a_half_life_and_the_important_ones_slower() -> None:
    plain = _memory("a", importance=0.0, confidence=1.0)
    assert worth(plain, NOW) == 0.0
    important = _memory("b", importance=1.0, confidence=1.0)
    half_life = HALF_LIFE.days * DAY
    assert worth(important, Micros(NOW + 4 * half_life)) == pytest.approx(0.5)
    less = _memory("c", importance=0.5, confidence=1.0)
    assert worth(less, Micros(NOW + 5 * half_life // 2)) == pytest.approx(0.25)


def test_use_keeps_a_memory_fresh_and_only_faded_ones_that_are_not_pinned_may_go() -> None:
    old = Micros(NOW - 400 * DAY)
    memories = [
        _memory("old", learned=old),
        _memory("used", learned=old, last_used=NOW),
        _memory("pinned", learned=old, pinned=True),
    ]
    assert [each.memory_id for each in faded(memories, NOW)] == ["old"]


def test_kinds_have_the_numbers_of_the_contract() -> None:
    names = {f"MEMORY_KIND_{each.name}": each.value for each in MemoryKind}
    assert names == {name: number for name, number in memory_pb2.MemoryKind.items() if number}


memories = st.builds(
    Memory,
    st.uuids().map(str),
    st.sampled_from(MemoryKind),
    st.text("abc ", max_size=12),
    st.integers(0, NOW).map(Micros),
    st.sampled_from(["", "x", "y"]),
    importance=st.floats(0, 1),
    confidence=st.floats(0, 1),
    performance=st.floats(0, 1),
    pinned=st.booleans(),
)


@settings(max_examples=80, deadline=None)
@given(st.lists(memories, max_size=14), st.sampled_from(["", "x"]))
def test_the_order_given_does_not_matter_and_every_memory_has_a_reason(known: list[Memory], platform: str) -> None:
    told = _ranked(known, Wanted(platform))
    assert told == _ranked(list(reversed(known)), Wanted(platform))
    assert all(each.reasons for each in told)
    fitting = [each for each in known if each.pinned or each.platform in ("", platform) or not platform]
    assert len(told) == min(8, len({each.text for each in fitting}))
    scores = [(not each.memory.pinned, -each.score) for each in told]
    assert scores == sorted(scores)
    assert all(0 <= worth(each, NOW) <= 1 for each in known)
