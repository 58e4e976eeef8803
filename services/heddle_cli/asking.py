"""Asks a person what an agent asks: a question, an approval, a plan. On a terminal, in place."""

import json
import os
import shlex
import subprocess
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from heddle.common.v1.content_pb2 import ContentPart
from heddle.runtime.v1.input_pb2 import ApprovalScope, InputAnswer, InputDecision, InputKind, InputRequest
from heddle_cli.display.blocks import input_text
from heddle_cli.display.screen import Screen

_APPROVALS = (InputKind.INPUT_KIND_APPROVAL, InputKind.INPUT_KIND_PLAN)
_RESULTS = (InputKind.INPUT_KIND_CLIENT_TOOL, InputKind.INPUT_KIND_EXTERNAL, InputKind.INPUT_KIND_RECONCILE)


def asker(screen: Screen) -> Callable[[InputRequest], InputAnswer | None] | None:
    """What asks on this screen; None where nobody can be asked."""
    return partial(ask, screen) if screen.can_ask else None


def ask(screen: Screen, asked: InputRequest) -> InputAnswer | None:
    """Ask on the terminal. None when it was left for later. Raises EOFError and KeyboardInterrupt."""
    screen.out.print(input_text(asked))
    if asked.kind in _APPROVALS:
        return _ask_approval(screen, asked)
    if asked.kind in _RESULTS:
        return _ask_result(screen)
    return _ask_question(screen, asked)


def approval(*, scope_thread: bool = False, edited: str = "") -> InputAnswer:
    """Yes: once or for the thread, as asked or with edited arguments."""
    scope = ApprovalScope.APPROVAL_SCOPE_THREAD if scope_thread else ApprovalScope.APPROVAL_SCOPE_ONCE
    return InputAnswer(decision=InputDecision.INPUT_DECISION_APPROVE, scope=scope, edited_arguments_json=edited)


def denial(reason: str = "") -> InputAnswer:
    """No; the reason is told to the model."""
    return InputAnswer(decision=InputDecision.INPUT_DECISION_DENY, text=reason)


def said(text: str = "", *, options: list[str] | None = None, json_text: str = "") -> InputAnswer:
    """The answer to a question."""
    return InputAnswer(decision=InputDecision.INPUT_DECISION_ANSWER, text=text, options=options or [], json=json_text)


def result(text: str, *, is_error: bool = False) -> InputAnswer:
    """The result of a tool call that somebody else performs."""
    return InputAnswer(
        decision=InputDecision.INPUT_DECISION_ANSWER, content=[ContentPart(text=text)], is_error=is_error
    )


def choice(asked: InputRequest, typed: str) -> InputAnswer | str:
    """The answer that a typed line means, or what is wrong with it. Pure.

    An option's value or number chooses it, several with commas; anything else is free text where that is welcome.
    """
    typed = typed.strip()
    if not typed:
        return "nothing was typed"
    if asked.json_schema:
        return said(json_text=typed) if is_json(typed) else "this is no JSON"
    if asked.options:
        values = [option.value for option in asked.options]
        chosen = [_chosen(values, each.strip()) for each in typed.split(",")]
        found = [each for each in chosen if each]
        if len(found) == len(chosen):
            return said(options=found)
        if not asked.free_text:
            return f"choose one of: {', '.join(values)}"
    return said(typed)


def edit(text: str, *, suffix: str = ".json") -> str:
    """`text` as the person leaves it in $VISUAL or $EDITOR."""
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory(prefix="heddle-") as folder:
        file = Path(folder) / f"edit{suffix}"
        file.write_text(text, encoding="utf-8")
        subprocess.run([*shlex.split(editor), str(file)], check=True)
        return file.read_text(encoding="utf-8").strip()


def edited_arguments(asked: InputRequest) -> str:
    """The call's arguments as the person leaves them in an editor. Raises ValueError for what is no JSON object."""
    before = json.dumps(json.loads(asked.arguments_json or "{}"), ensure_ascii=False, indent=2)
    after = edit(before)
    value: object = json.loads(after)
    if not isinstance(value, dict):
        raise ValueError("the arguments must be a JSON object")
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def is_json(text: str) -> bool:
    """Whether `text` is one JSON value."""
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _ask_approval(screen: Screen, asked: InputRequest) -> InputAnswer | None:
    is_call = asked.kind == InputKind.INPUT_KIND_APPROVAL
    keys = "y yes, n no, e edit, t yes for this thread, l later" if is_call else "y yes, n no, l later"
    while True:
        match _typed(screen, f"  {keys}: ").lower():
            case "y" | "yes":
                return approval()
            case "n" | "no":
                return denial(_typed(screen, "  why (told to the agent): "))
            case "t" if is_call:
                return approval(scope_thread=True)
            case "e" if is_call:
                try:
                    return approval(edited=edited_arguments(asked))
                except (ValueError, OSError, subprocess.CalledProcessError) as error:
                    screen.note(f"  not edited: {error}")
            case "l":
                return None
            case _:
                screen.note("  one of the letters, please")


def _ask_question(screen: Screen, asked: InputRequest) -> InputAnswer | None:
    hint = "JSON" if asked.json_schema else "an option, or your own words" if asked.options else "your answer"
    if asked.json_schema:
        screen.note(f"  schema: {asked.json_schema}")
    while True:
        answer = choice(asked, _typed(screen, f"  {hint}: "))
        if isinstance(answer, InputAnswer):
            return answer
        screen.note(f"  {answer}")


def _ask_result(screen: Screen) -> InputAnswer | None:
    typed = _typed(screen, "  the result (empty: later): ")
    return result(typed) if typed else None


def _chosen(values: list[str], typed: str) -> str:
    if typed in values:
        return typed
    if typed.isdecimal() and 1 <= int(typed) <= len(values):
        return values[int(typed) - 1]
    return next((value for value in values if value.lower() == typed.lower()), "")


def _typed(screen: Screen, prompt: str) -> str:
    return screen.out.input(prompt, markup=False).strip()
