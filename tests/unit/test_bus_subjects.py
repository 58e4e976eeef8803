"""Subjects and headers: what they look like, and that no id can make them look otherwise."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heddle_bus import subjects
from heddle_bus.headers import EventOrigin, event_headers, event_origin
from heddle_core.clock import Micros
from heddle_core.errors import InvalidField

IDS = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)
ORIGINS = st.builds(
    EventOrigin,
    log_epoch=st.integers(0, 2**63 - 1),
    tenant=IDS.filter(lambda text: text != "control"),
    thread=IDS,
    sequence=st.integers(1, 2**63 - 1),
)


def test_subjects_are_those_of_the_contract() -> None:
    assert subjects.thread_event("acme", "t1", "RunStarted") == "heddle.v1.acme.threads.t1.RunStarted"
    assert subjects.deltas("acme", "t1", "r1") == "heddle.v1.acme.deltas.t1.r1"
    assert subjects.control("runs", "r1") == "heddle.v1.control.runs.r1"
    assert subjects.signals("acme", "sale") == "heddle.v1.acme.signals.sale"
    assert subjects.jobs("acme", "j1") == "heddle.v1.acme.jobs.j1"
    assert subjects.thread_events("acme", event="RunCompleted") == "heddle.v1.acme.threads.*.RunCompleted"
    assert subjects.controls("runs") == "heddle.v1.control.runs.*"
    assert subjects.all_signals() == "heddle.v1.*.signals.*"


def test_only_thread_events_are_stored() -> None:
    (stored,) = subjects.EVENT_STREAM_SUBJECTS
    assert subjects.matches(stored, subjects.thread_event("acme", "t1", "RunStarted"))
    for other in (
        subjects.deltas("acme", "t1", "r1"),
        subjects.control("threads", "t1"),
        subjects.signals("acme", "threads"),
        subjects.jobs("acme", "j1"),
    ):
        assert not subjects.matches(stored, other)
        with pytest.raises(InvalidField):
            subjects.checked_event_subject(other)


def test_no_tenant_can_be_called_like_the_doorbells() -> None:
    with pytest.raises(InvalidField):
        subjects.signals("control", "runs")
    with pytest.raises(InvalidField):
        subjects.thread_events("control")


@pytest.mark.parametrize("evil", ["", "a.b", "*", ">", "a b", "a\n", "a\r\nPUB x", "ä", "a\x00", "a" * 65, "$JS"])
def test_a_token_outside_the_id_alphabet_is_refused_everywhere(evil: str) -> None:
    for build in (
        lambda: subjects.thread_event(evil, "t", "e"),
        lambda: subjects.thread_event("a", evil, "e"),
        lambda: subjects.thread_event("a", "t", evil),
        lambda: subjects.thread_events(evil),
        lambda: subjects.thread_events("a", evil),
        lambda: subjects.deltas("a", "t", evil),
        lambda: subjects.control(evil, "i"),
        lambda: subjects.control("w", evil),
        lambda: subjects.controls(evil),
        lambda: subjects.signals("a", evil),
        lambda: subjects.jobs("a", evil),
        lambda: subjects.event_message_id(log_epoch=1, tenant="a", thread=evil, sequence=1),
    ):
        with pytest.raises(InvalidField):
            build()


@pytest.mark.parametrize(
    ("pattern", "subject", "matched"),
    [
        ("a.b", "a.b", True),
        ("a.*", "a.b", True),
        ("a.*", "a.b.c", False),
        ("a.>", "a.b.c", True),
        ("a.>", "a", False),
        ("*.b", "a.c", False),
        ("a.b.c", "a.b", False),
    ],
)
def test_patterns_match_as_in_nats(pattern: str, subject: str, matched: bool) -> None:
    assert subjects.matches(subjects.checked_pattern(pattern), subject) is matched


@pytest.mark.parametrize("evil", ["", ">.a", "a>", "a*", "a..b", "a.> ", "a.>.b", "$SYS.>", "a\n"])
def test_a_malformed_pattern_is_refused(evil: str) -> None:
    with pytest.raises(InvalidField):
        subjects.checked_pattern(evil)


@given(ORIGINS)
def test_the_origin_of_an_event_survives_its_headers(origin: EventOrigin) -> None:
    assert event_origin(event_headers(origin, kind="RunStarted", committed=Micros(1))) == origin


def test_headers_are_those_of_cloud_events() -> None:
    origin = EventOrigin(3, "acme", "t1", 7)
    headers = event_headers(origin, kind="RunStarted", committed=Micros(1_700_000_000_000_001), traceparent="00-a-b-01")
    assert headers == {
        "ce-specversion": "1.0",
        "ce-id": "3:acme:t1:7",
        "ce-source": "/heddle/acme/threads/t1",
        "ce-type": "heddle.runtime.v1.RunStarted",
        "ce-time": "2023-11-14T22:13:20.000001+00:00",
        "ce-logepoch": "3",
        "ce-tenant": "acme",
        "ce-thread": "t1",
        "ce-threadsequence": "7",
        "traceparent": "00-a-b-01",
    }


@pytest.mark.parametrize(
    "change",
    [
        {"ce-threadsequence": ""},
        {"ce-threadsequence": "0"},
        {"ce-threadsequence": "-1"},
        {"ce-threadsequence": "\u0661"},
        {"ce-threadsequence": "9" * 19},
        {"ce-threadsequence": "1" * 5000},
        {"ce-logepoch": "x"},
        {"ce-tenant": "a.b"},
        {"ce-thread": ""},
    ],
)
def test_headers_that_name_no_event_are_recognized(change: dict[str, str]) -> None:
    headers = event_headers(EventOrigin(1, "acme", "t1", 7), kind="X", committed=Micros(0))
    assert event_origin({**headers, **change}) is None
    assert event_origin({}) is None
