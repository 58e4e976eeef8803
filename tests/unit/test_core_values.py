"""Values behave as frozen dataclasses do, but for the check at run time."""

import dataclasses

from heddle_core.values import value


@value
class Point:
    x: int
    y: int = 0


def test_values_are_equal_and_hash_by_their_fields() -> None:
    assert Point(1) == Point(1, 0) != Point(1, 1)
    assert len({Point(1), Point(1, 0), Point(1, 1)}) == 2


def test_values_can_be_replaced_matched_and_listed_and_take_no_other_attributes() -> None:
    moved = dataclasses.replace(Point(1, 2), x=3)
    match moved:
        case Point(x, y):
            assert (x, y) == (3, 2)
    assert [each.name for each in dataclasses.fields(Point)] == ["x", "y"]
    assert not hasattr(moved, "__dict__")
