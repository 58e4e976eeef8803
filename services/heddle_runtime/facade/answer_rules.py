"""Which answers fit which inputs. Pure; a refusal names the field and says what to send instead."""

from collections.abc import Iterator

from heddle_core.errors import InvalidField
from heddle_core.faults import Violation
from heddle_runtime.runs.inputs import ApprovalScope, InputAnswer, InputDecision, InputKind, InputRequest
from heddle_runtime.tools.schema import Schemas

_DECIDED = (InputKind.APPROVAL, InputKind.PLAN)


def check_answer(asked: InputRequest, answer: InputAnswer, schemas: Schemas) -> None:
    """Refuse an answer that does not fit what was asked.

    Raises:
        InvalidField: with every violation that was found.
    """
    found = tuple(_violations(asked, answer, schemas))
    if found:
        raise InvalidField(found)


def _violations(asked: InputRequest, answer: InputAnswer, schemas: Schemas) -> Iterator[Violation]:
    approves = answer.decision is InputDecision.APPROVE
    denies = answer.decision is InputDecision.DENY
    if asked.kind in _DECIDED and not approves and not denies:
        yield Violation("answer.decision", "APPROVE or DENY: this input asks for a yes or a no")
    if asked.kind not in _DECIDED and approves:
        yield Violation("answer.decision", "ANSWER or DENY: this input asks for an answer, not for approval")
    if answer.edited_arguments_json and asked.kind is not InputKind.APPROVAL:
        yield Violation("answer.edited_arguments_json", "leave it empty: only approvals take edited arguments")
    if answer.scope is ApprovalScope.THREAD and asked.thread_scope_refused:
        yield Violation("answer.scope", "ONCE: a tool that publishes or spends is approved call by call")
    if asked.kind is InputKind.QUESTION and not denies:
        yield from _question(asked, answer, schemas)


def _question(asked: InputRequest, answer: InputAnswer, schemas: Schemas) -> Iterator[Violation]:
    known = {option.value for option in asked.options}
    for place, value in enumerate(answer.options):
        if value not in known:
            yield Violation(f"answer.options[{place}]", f"one of {', '.join(sorted(known)) or 'no options'}")
    if asked.json_schema:
        if not answer.json:
            yield Violation("answer.json", "JSON that fits the input's json_schema")
        elif problems := schemas.problems(asked.json_schema, answer.json):
            yield Violation("answer.json", " ".join(problems))
        return
    if asked.options and not answer.options and not (asked.free_text and answer.text):
        words = " or a text" if asked.free_text else ""
        yield Violation("answer.options", f"one of {', '.join(sorted(known))}{words}")
    if not asked.options and not answer.text and not answer.json and not answer.content:
        yield Violation("answer.text", "an answer in words")
