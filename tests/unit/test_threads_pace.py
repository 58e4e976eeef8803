"""Frames of words: as often as a reader can see them, and seldomer where the process is late."""

from heddle_runtime.threads.pace import LONGEST, SHORTEST, Pace


def struck(pace: Pace, late: float, times: int) -> float:
    for _ in range(times):
        pace.struck(late)
    return pace.window


def test_a_process_in_time_sends_as_often_as_a_reader_can_see() -> None:
    assert struck(Pace(), 0.0, 100) == SHORTEST


def test_a_late_process_sends_seldomer_and_never_too_seldom() -> None:
    assert SHORTEST < struck(Pace(), 0.01, 100) < struck(Pace(), 0.02, 100) < LONGEST
    assert struck(Pace(), 10.0, 100) == LONGEST


def test_one_late_timer_among_many_changes_little() -> None:
    pace = Pace()
    struck(pace, 0.0, 100)
    assert struck(pace, 0.05, 1) < SHORTEST * 1.25


def test_a_process_that_has_caught_up_sends_as_often_as_before() -> None:
    pace = Pace()
    struck(pace, 0.1, 100)
    assert struck(pace, 0.0, 300) < SHORTEST * 1.01
