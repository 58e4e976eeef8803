"""What of a tool's words goes on."""

import json
import math

from heddle_core.usage import MicroUsd
from heddle_runtime.runs.content import AssetReference, InlineData, Json, Text, plain_text
from heddle_runtime.tools.port import ToolProgress, ToolReply
from heddle_runtime.tools.results import MOST_INLINE, MOST_TEXT, bounded, bounded_progress


def kept(reply: ToolReply, *, most_text: int = MOST_TEXT) -> ToolReply:
    end = bounded(reply, most_text=most_text)
    assert isinstance(end, ToolReply)
    return end


def test_a_small_result_is_left_as_it_is() -> None:
    reply = ToolReply(
        True,
        (Text("a"), Json('{"b":1}'), InlineData("image/png", b"x", "n"), AssetReference("asset_1", "image/png")),
        ('{"type":"alert"}',),
        MicroUsd(5),
        ("look",),
    )
    assert kept(reply) == reply


def test_long_text_is_cut_between_characters_and_says_how_much_is_missing() -> None:
    reply = kept(ToolReply(True, (Text("é" * 10), Text("more"))), most_text=7)
    assert reply.content[0] == Text("ééé")
    assert plain_text(reply.content).endswith("[cut: 18 bytes more of text; ask for less, or for a part of it]")


def test_the_default_bound_holds_for_all_parts_together() -> None:
    reply = kept(ToolReply(True, tuple(Text("x" * 100_000) for _ in range(5))))
    assert MOST_TEXT <= len(plain_text(reply.content)) < MOST_TEXT + 200


def test_json_that_is_cut_or_unsound_goes_on_as_text() -> None:
    assert kept(ToolReply(True, (Json('{"a":1}'),)), most_text=3).content[0] == Text('{"a')
    assert kept(ToolReply(True, (Json("{nope"),))).content == (Text("{nope"),)
    assert kept(ToolReply(True, (Json('"\\u0000"'),))).content == (Text('"\\u0000"'),)


def test_nul_and_lone_surrogates_are_scrubbed_everywhere() -> None:
    reply = kept(ToolReply(True, (Text("a\0b\ud800"),), next_actions=("c\0d",)))
    assert reply == ToolReply(True, (Text("ab?"),), next_actions=("cd",))


def test_inline_data_beyond_the_bound_is_named_and_left_out() -> None:
    half = InlineData("image/png", b"x" * (MOST_INLINE // 2 + 1))
    reply = kept(ToolReply(True, (half, half)))
    assert reply.content[0] == half
    assert "left out: image/png" in plain_text(reply.content)


def test_only_sound_ui_blocks_are_kept() -> None:
    blocks = ("[]", "nope", '{"type":"chart"}', '{"a":1,"a":2}', json.dumps({"x": "y" * 300_000}))
    assert kept(ToolReply(True, (), blocks)).ui_blocks_json == ('{"type":"chart"}',)


def test_many_parts_and_actions_are_bounded() -> None:
    reply = kept(ToolReply(True, tuple(Text("x") for _ in range(1000)), next_actions=("go",) * 100))
    assert len(reply.content) == 257
    assert len(reply.next_actions) == 16


def test_a_negative_cost_is_not_believed() -> None:
    assert kept(ToolReply(True, cost=MicroUsd(-5))).cost is None


def test_progress_is_a_part_of_one_and_a_line() -> None:
    assert bounded_progress(ToolProgress(7.0, "a\nb\0")) == ToolProgress(1.0, "a b")
    assert bounded_progress(ToolProgress(math.nan)).fraction == 0.0
    assert bounded_progress(ToolProgress(-math.inf)).fraction == 0.0
    assert len(bounded_progress(ToolProgress(0.5, "x" * 9000)).message) == 1024
