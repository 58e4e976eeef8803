"""Every reason of the contract comes with a sample, and it is what the error would really say."""

import re
from pathlib import Path

import pytest

from heddle_core.reasons import all_reasons

PROTO = Path(__file__).parents[2] / "proto" / "heddle" / "common" / "v1" / "error_reason.proto"
ENTRY = re.compile(r"((?:  //.*\n)+)  ERROR_REASON_(\w+) =")


def commented() -> dict[str, tuple[str, str]]:
    """The status and the sample in the comment of each reason."""
    found: dict[str, tuple[str, str]] = {}
    for comment, reason in ENTRY.findall(PROTO.read_text()):
        text = " ".join(line.strip().removeprefix("//").strip() for line in comment.splitlines())
        status, _, sample = text.partition(". Sample: ")
        found[reason] = (status, sample)
    del found["UNSPECIFIED"]
    return found


def test_every_reason_has_a_sample() -> None:
    assert commented().keys() == all_reasons().keys()


@pytest.mark.parametrize("reason", sorted(all_reasons()))
def test_a_sample_is_what_the_error_says(reason: str) -> None:
    family = all_reasons()[reason]
    status, sample = commented()[reason]
    assert status == family.status.name
    if reason == "INVALID_FIELD":
        assert sample == "content[0].text: must not be empty"
        return
    template = " ".join((family.__doc__ or "").split())
    assert "{" not in sample
    assert re.fullmatch(re.sub(r"\\\{\w+\\\}", "(.+)", re.escape(template)), sample), template
