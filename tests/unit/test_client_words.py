from hypothesis import given
from hypothesis import strategies as st

from heddle_client.words import MOST_HELD_BYTES, Words
from tests.kit.stream_tellings import cuts


def test_words_continue_at_their_offset() -> None:
    assert Words().joined(0, "Hel").joined(3, "lo").text == "Hello"


def test_words_that_are_known_are_dropped() -> None:
    assert Words().joined(0, "Hello").joined(0, "Hel").joined(2, "llo, you").text == "Hello, you"


def test_words_beyond_a_hole_are_held_until_it_is_filled() -> None:
    held = Words().joined(0, "Hel").joined(5, ", you")
    assert held.text == "Hel"
    assert held.joined(3, "lo").text == "Hello, you"


def test_offsets_count_bytes_and_not_characters() -> None:
    assert Words().joined(0, "né").joined(3, "e").text == "née"


def test_a_reset_replaces_everything() -> None:
    assert Words().joined(0, "Hello").joined(9, "held").joined(0, "Bye", reset=True) == Words(b"Bye")


def test_an_empty_reset_clears() -> None:
    assert Words().joined(0, "Hello").joined(0, "", reset=True) == Words()


def test_words_that_contradict_what_is_shown_are_not_shown() -> None:
    doubted = Words().joined(0, "Hello").joined(3, "p me")
    assert doubted.in_doubt
    assert doubted.joined(5, " again").text == "Hello"
    assert doubted.joined(0, "Help", reset=True).text == "Help"


def test_a_piece_that_would_split_a_character_is_not_shown() -> None:
    torn = Words("a\u00e9".encode()[:1]).joined(0, "\u00e9")
    assert torn.in_doubt
    assert torn.text == "a"


def test_what_is_held_back_is_bounded() -> None:
    words = Words()
    for place in range(4):
        words = words.joined(1 + place * MOST_HELD_BYTES, "x" * (MOST_HELD_BYTES // 2))
    assert sum(len(piece) for _, piece in words.held) <= MOST_HELD_BYTES


@given(st.data(), st.text(max_size=20))
def test_any_order_and_repetition_of_pieces_gives_the_text(data: st.DataObject, text: str) -> None:
    pieces = [*data.draw(cuts(text)), *data.draw(cuts(text))]
    words = Words()
    for start, end in data.draw(st.permutations(pieces)):
        words = words.joined(len(text[:start].encode()), text[start:end])
        assert text.startswith(words.text)
    assert words == Words(text.encode())
