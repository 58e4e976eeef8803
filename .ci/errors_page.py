"""Makes docs/errors.md of the error classes and of docs/errors.toml, or with --check says whether it is up to date.

    python .ci/errors_page.py            write the page
    python .ci/errors_page.py --check    exit 1 if it would come out otherwise; writes nothing

Status, metadata and waiting time are asked of the code that clients meet, so that the page cannot tell otherwise; the
message is the sample in the contract, which a test holds against the code.
"""

import importlib
import pkgutil
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from google.rpc import error_details_pb2

import heddle_core
from heddle_core.faults import HeddleError, Violation
from heddle_core.reasons import all_reasons
from heddle_grpc.errors import to_status

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "errors.md"
ADVICE = ROOT / "docs" / "errors.toml"
REASONS = ROOT / "proto" / "heddle" / "common" / "v1" / "error_reason.proto"

HEAD = """# Errors

<!-- Made by .ci/errors_page.py. Change docs/errors.toml or the error classes, then run `make proto`. -->

Every error is one `google.rpc.Status`. Its details hold one `ErrorInfo` with the reason that is a heading here, the
domain `heddle`, and the named values of the message as metadata. Programs go by the reason; the message is for people.
`RetryInfo` tells how long to wait before sending the same request again, with the same request id. Clients that retry
by themselves do so for UNAVAILABLE alone. `heddle explain REASON` prints the same in a terminal.
"""
OUTSIDE = """
## Not told by servers

Two kinds of error exist inside Heddle's own programs and are no part of the contract.
"""


def main(arguments: list[str]) -> int:
    """Write or check; returns the exit code."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write(__doc__ or "")
        return 2
    advice = tomllib.loads(ADVICE.read_text())
    known = set(all_reasons()) | {_name(each) for each in outsiders()}
    if differing := sorted(known ^ advice.keys()):
        sys.stderr.write(f"docs/errors.toml and the error classes differ in: {', '.join(differing)}\n")
        return 1
    text = page(advice)
    if arguments:
        fresh = PAGE.exists() and PAGE.read_text() == text
        sys.stdout.write("errors: docs/errors.md is up to date\n" if fresh else "")
        sys.stderr.write("" if fresh else "docs/errors.md is out of date: run `python .ci/errors_page.py`\n")
        return 0 if fresh else 1
    PAGE.write_text(text)
    sys.stdout.write(f"docs/errors.md: {len(known)} errors\n")
    return 0


def page(advice: dict[str, str]) -> str:
    """The text of docs/errors.md."""
    told, known = samples(), all_reasons()
    # In the order of the contract: whatever module a class stands in.
    reasons = {each: known[each] for each in told if each in known}
    parts = [HEAD, "\n", *(f"- [{each}](#{each.lower()}): `{reasons[each].status.name}`\n" for each in reasons)]
    parts += [_section(reason, reasons[reason], told[reason], advice[reason]) for reason in reasons]
    parts.append(OUTSIDE)
    for each in outsiders():
        message = " ".join((each.__doc__ or "").split())
        parts.append(f"\n### {each.__name__}\n\n> {message}\n\n{advice[_name(each)]}\n")
    return "".join(parts)


def samples() -> dict[str, str]:
    """The message in the comment of each reason of the contract."""
    found: dict[str, str] = {}
    for comment, reason in re.findall(r"((?:  //.*\n)+)  ERROR_REASON_(\w+) =", REASONS.read_text()):
        text = " ".join(line.strip().removeprefix("//").strip() for line in comment.splitlines())
        found[reason] = text.partition(". Sample: ")[2]
    return found


def outsiders() -> list[type[HeddleError]]:
    """The error classes without a reason of the contract, but for those that only others are made of."""
    return [each for each in _family(HeddleError) if not each.__subclasses__() and "status" not in vars(each)]


def _family(parent: type[HeddleError]) -> Iterator[type[HeddleError]]:
    for module in pkgutil.iter_modules(heddle_core.__path__):
        importlib.import_module(f"heddle_core.{module.name}")
    for each in parent.__subclasses__():
        yield each
        yield from _family(each)


def _section(reason: str, kind: type[HeddleError], sample: str, advice: str) -> str:
    error = _nameless(kind)
    names = ", ".join(f"`{name}`" for name in error.metadata) or "none"
    # The explicit anchor is what the error itself links to: forges write those of headings in small letters.
    return (
        f'\n<a id="{reason}"></a>\n\n## {reason}\n\n> {sample}\n\n'
        f"Status `{kind.status.name}`; metadata: {names}; `RetryInfo`: {_pause(error)}.\n\n{advice}\n"
    )


def _nameless(kind: type[HeddleError]) -> HeddleError:
    """An error whose values are their own names in braces."""
    values: dict[str, object] = {each.name: f"{{{each.name}}}" for each in fields(kind)}
    if "violations" in values:
        values["violations"] = (Violation("{field}", "{remedy}"),)
    return kind(**values)


def _pause(error: HeddleError) -> str:
    for detail in to_status(error).details:
        retry = error_details_pb2.RetryInfo()
        if detail.Is(retry.DESCRIPTOR) and detail.Unpack(retry):
            return f"{retry.retry_delay.ToTimedelta().total_seconds():g} s"
    return "none"


def _name(kind: type[HeddleError]) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).upper()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
