"""What every adapter's reply is built with."""

import pytest

from heddle_core.ids import CountingIds
from heddle_runtime.models.assembly import ReplyAssembly, problem_of, valid_unicode
from heddle_runtime.models.port import FinishReason, ModelRequest, ModelUsage
from heddle_runtime.models.redaction import LONGEST_MESSAGE, scrub


def assembly() -> ReplyAssembly:
    return ReplyAssembly(ModelRequest("m", "", ()), CountingIds())


def test_a_call_without_arguments_has_an_empty_object() -> None:
    reply = assembly()
    reply.open_call(0, "now", None)
    whole = reply.finish(finish_reason=FinishReason.STOP, usage=ModelUsage(), model="m")
    assert [(call.call_id, call.arguments_json, call.problem) for call in whole.calls] == [("call_1", "{}", None)]
    assert whole.finish_reason is FinishReason.TOOL_CALLS


def test_empty_pieces_make_no_events() -> None:
    reply = assembly()
    assert reply.add_text("") is None
    assert reply.add_reasoning("") is None
    reply.open_call(0, "now", None)
    assert reply.add_arguments(0, "") is None


@pytest.mark.parametrize("arguments", ['{"a": 1}', "{}", ' {"a": {"b": [null]}} '])
def test_one_json_object_has_no_problem(arguments: str) -> None:
    assert problem_of(arguments) is None


@pytest.mark.parametrize("arguments", ["", "[1]", '"text"', '{"a": NaN}', '{"a": Infinity}', "{'a': 1}", "{" * 100_000])
def test_anything_else_has_one(arguments: str) -> None:
    assert problem_of(arguments)


def test_very_deep_nesting_is_a_problem_and_no_crash() -> None:
    assert problem_of('{"a":' * 100_000 + "1" + "}" * 100_000)


def test_lone_surrogates_become_replacement_characters() -> None:
    assert valid_unicode("a\ud83db") == "a\ufffdb"
    assert valid_unicode("plain ☃") == "plain ☃"


@pytest.mark.parametrize(
    "text",
    [
        "Incorrect API key provided: sk-proj-abcdef1234567890",
        "https://host/v1?key=AIzaSyA1234567890abcdef&alt=sse",
        "header Authorization: Bearer abcdef1234567890",
        '{"api_key": "abcdef1234567890"}',
        "postgres://user:abcdef1234567890@host/db",
        "my own abcdef1234567890 secret",
    ],
)
def test_secrets_are_masked(text: str) -> None:
    masked = scrub(text, ("abcdef1234567890",))
    assert "abcdef1234567890" not in masked
    assert "[secret]" in masked


def test_long_messages_are_cut_and_stay_on_one_line() -> None:
    assert scrub("a\nb\t c") == "a b c"
    assert len(scrub("x" * 10_000)) == LONGEST_MESSAGE
