"""Texts from elsewhere, made fit to be kept and shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heddle_core.texts import clipped, storable

ANYTHING = st.text(st.characters(codec=None))


@pytest.mark.parametrize(
    ("text", "most", "shown"), [("", 1, ""), ("words", 5, "words"), ("words", 4, "wor…"), ("words", 1, "…")]
)
def test_clipped_marks_only_what_was_cut(text: str, most: int, shown: str) -> None:
    assert clipped(text, most) == shown


@given(ANYTHING, st.integers(1, 20))
def test_clipped_is_never_longer_than_asked(text: str, most: int) -> None:
    short = clipped(text, most)
    assert len(short) <= most
    assert short == text or text.startswith(short[:-1])


@given(ANYTHING)
def test_storable_is_utf8_without_nul_and_settled(text: str) -> None:
    kept = storable(text)
    assert "\0" not in kept
    assert kept.encode().decode() == kept
    assert storable(kept) == kept


def test_storable_keeps_what_is_fit() -> None:
    assert storable("Grüße 🌍\n") == "Grüße 🌍\n"
    assert storable("a\0b\ud800c") == "ab?c"
