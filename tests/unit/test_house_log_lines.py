"""A log line keeps its fields, from the call that writes it to the JSON that a collector reads."""

import json
import logging
import sys

from heddle_core.json_logs import JsonLines
from heddle_core.log_lines import LogLines
from tests.kit.log_capture import capture_logs


def written(record: logging.LogRecord) -> dict[str, object]:
    return json.loads(JsonLines().format(record))


def test_a_line_carries_the_fields_that_were_bound_and_those_that_were_given() -> None:
    log = LogLines("heddle.test").bind(run="run_1", fence=1)
    with capture_logs() as lines:
        log.warning("cannot go on", fence=2)
    assert lines == [{"event": "cannot go on", "level": "warning", "run": "run_1", "fence": 2, "exc_info": None}]


def test_a_line_below_the_level_is_not_written() -> None:
    with capture_logs() as lines:
        logging.getLogger().setLevel(logging.ERROR)
        LogLines("heddle.test").warning("of no interest")
        LogLines("heddle.test").error("of interest")
    assert [line["event"] for line in lines] == ["of interest"]


def test_an_exception_under_way_is_written_with_its_traceback() -> None:
    with capture_logs() as lines:
        try:
            raise ValueError("the reason")
        except ValueError:
            LogLines("heddle.test").exception("it failed", run="run_1")
    assert str(lines[0]["exc_info"]) == "the reason"


def test_a_line_is_one_json_object_whatever_its_words_are() -> None:
    record = logging.LogRecord("heddle.test", logging.INFO, __file__, 1, "%s", ('100 % of "it"\nand more',), None)
    record.fields = {"path": logging, "thread": "thr_ü"}
    line = JsonLines().format(record)
    assert "\n" not in line
    assert json.loads(line)["event"] == '100 % of "it"\nand more'
    assert json.loads(line)["thread"] == "thr_ü"
    assert json.loads(line)["timestamp"].endswith("Z")


def test_a_line_of_another_library_is_written_too_and_its_exception() -> None:
    try:
        raise OSError("gone")
    except OSError:
        record = logging.LogRecord("nats", logging.ERROR, __file__, 1, "closed: %s", ("gone",), sys.exc_info())
    assert written(record)["event"] == "closed: gone"
    assert "OSError: gone" in str(written(record)["exception"])
