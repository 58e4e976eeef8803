"""A model that says what a scenario tells it: for demonstrations, tests and measurements, at no cost.

It holds no place in a conversation. Which step comes next is read off the request's messages alone, so a
server that was killed and started again goes on where it was.
"""

import asyncio
import re
from collections import OrderedDict
from collections.abc import AsyncGenerator, Callable
from datetime import timedelta
from itertools import pairwise
from typing import Any, cast

from heddle_core.ids import Ids
from heddle_core.values import value
from heddle_runtime.models.assembly import ReplyAssembly
from heddle_runtime.models.port import (
    AssistantMessage,
    BinaryPart,
    FaultKind,
    FinishReason,
    JsonPart,
    Message,
    ModelEvent,
    ModelFault,
    ModelReply,
    ModelRequest,
    ModelUsage,
    TextDelta,
    TextPart,
    ToolMessage,
    UserMessage,
)
from heddle_runtime.models.scenario import Call, Fault, Reply, Scenario, Stream, Turn, When, compact_json
from heddle_runtime.models.template import Template, TurnView, parse

_REMEMBERED_FAULTS = 10_000
"""Requests whose faulty attempts are counted; the oldest is forgotten first."""

_BURST = 64
"""Pieces that are said without a pause; then others have their turn, also where no delay is asked for."""

_WORDS = re.compile(r"\s*\S+\s*")


class ScriptedModel:
    """One scenario as a model."""

    def __init__(self, name: str, scenario: Scenario, ids: Ids) -> None:
        self._name = name
        self._ids = ids
        self._turns = tuple(
            _Turn(
                turn.when,
                tuple(
                    _Step(_compiled(step), tuple((each.when, _compiled(each)) for each in step.cases))
                    for step in turn.steps
                ),
            )
            for turn in scenario.turns or (Turn(steps=scenario.steps),)
        )
        self._faulty: OrderedDict[tuple[int, tuple[Message, ...]], int] = OrderedDict()

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Play the step that the messages call for. See `port.Model`."""
        view = TurnView(request.messages)
        reply = self._choose(view)
        fault = reply.fault
        if fault is not None and not self._strikes(reply, fault, request):
            fault = None
        if reply.fixed is not None and fault is None:
            for place, delta in enumerate(reply.fixed, 1):
                if reply.delay or not place % _BURST:
                    await asyncio.sleep(reply.delay)
                yield delta
            yield ModelReply(
                reply.fixed_text,
                "",
                (),
                reply.finish,
                _usage(reply, request, len(reply.fixed_text)),
                self._name,
            )
            return
        assembly = ReplyAssembly(request, self._ids)
        if (thought := assembly.add_reasoning(reply.reasoning.fill(view))) is not None:
            yield thought
        spoken = 0
        for place, piece in enumerate(reply.cut(view), 1):
            if fault is not None and spoken >= fault.after_deltas:
                break
            if reply.delay or not place % _BURST:
                await asyncio.sleep(reply.delay)
            if (delta := assembly.add_text(piece)) is not None:
                spoken += 1
                yield delta
        if fault is not None:
            await _fail(fault)
        for place, call in enumerate(reply.calls):
            arguments = call.arguments(view)
            first, *rest = _pieces(arguments, call.pieces)
            yield assembly.open_call(place, call.tool, call.proposed_id, first)
            for fragment in rest:
                if (more := assembly.add_arguments(place, fragment)) is not None:
                    yield more
        whole = assembly.finish(finish_reason=reply.finish, usage=ModelUsage(), model=self._name)
        size = len(whole.text) + len(whole.reasoning) + sum(len(call.arguments_json) for call in whole.calls)
        yield ModelReply(
            whole.text,
            whole.reasoning,
            whole.calls,
            whole.finish_reason,
            _usage(reply, request, size),
            self._name,
        )

    async def close(self) -> None:
        """Nothing to give back."""

    def _choose(self, view: TurnView) -> "_Reply":
        for turn in self._turns:
            if _holds(turn.when, view):
                step = turn.steps[min(view.steps_taken, len(turn.steps) - 1)]
                return next((case for when, case in step.cases if _holds(when, view)), step.reply)
        raise ModelFault(
            FaultKind.REFUSED,
            f"no turn of {self._name} fits these words: add a turn without 'when' at the scenario's end",
        )

    def _strikes(self, reply: "_Reply", fault: Fault, request: ModelRequest) -> bool:
        if fault.times is None:
            return True
        key = (id(reply), request.messages)
        count = self._faulty.get(key, 0)
        if count >= fault.times:
            return False
        self._faulty[key] = count + 1
        if len(self._faulty) > _REMEMBERED_FAULTS:
            self._faulty.popitem(last=False)
        return True


@value
class _Call:
    tool: str
    proposed_id: str | None
    arguments: Callable[[TurnView], str]
    pieces: int


@value
class _Reply:
    text: Template
    deltas: tuple[Template, ...] | None
    pieces: int | str
    delay: float
    reasoning: Template
    calls: tuple[_Call, ...]
    usage: ModelUsage | None
    finish: FinishReason
    fault: Fault | None
    fixed: tuple[TextDelta, ...] | None
    """The deltas, made once, if nothing in the reply depends on the request."""
    fixed_text: str

    def cut(self, view: TurnView) -> list[str]:
        if self.deltas is not None:
            return [each.fill(view) for each in self.deltas]
        return _pieces(self.text.fill(view), self.pieces)


@value
class _Step:
    reply: _Reply
    cases: tuple[tuple[When, _Reply], ...]


@value
class _Turn:
    when: When
    steps: tuple[_Step, ...]


def _compiled(reply: Reply) -> _Reply:
    text = parse(reply.text or "")
    deltas = None if reply.deltas is None else tuple(parse(each) for each in reply.deltas)
    fixed = None if reply.calls or reply.reasoning else _fixed(text, deltas, reply.stream)
    usage = reply.usage
    return _Reply(
        text=text,
        deltas=deltas,
        pieces=reply.stream.pieces,
        delay=reply.stream.delay_ms / 1_000,
        reasoning=parse(reply.reasoning),
        calls=tuple(_compiled_call(each) for each in reply.calls),
        usage=usage and ModelUsage(usage.input, usage.output, usage.cached, usage.reasoning),
        finish=FinishReason(reply.finish or ("tool_calls" if reply.calls else "stop")),
        fault=reply.fault,
        fixed=fixed,
        fixed_text="" if fixed is None else "".join(each.text for each in fixed),
    )


def _fixed(text: Template, deltas: tuple[Template, ...] | None, stream: Stream) -> tuple[TextDelta, ...] | None:
    templates = (text,) if deltas is None else deltas
    literals = [each.literal for each in templates]
    known = [each for each in literals if each is not None]
    if len(known) < len(literals):
        return None
    pieces = _pieces(known[0], stream.pieces) if deltas is None else known
    return tuple(TextDelta(piece) for piece in pieces if piece)


def _compiled_call(call: Call) -> _Call:
    if call.raw_arguments is not None:
        raw = call.raw_arguments
        return _Call(call.tool, call.id, lambda view: raw, call.pieces)
    given = call.arguments or {}
    literal = compact_json(given)
    if "{{" not in literal:
        return _Call(call.tool, call.id, lambda view: literal, call.pieces)
    fill = _filler(given)
    return _Call(call.tool, call.id, lambda view: compact_json(fill(view)), call.pieces)


def _filler(value: object) -> Callable[[TurnView], object]:
    match value:
        case str():
            return parse(value).fill
        case list():
            items = [_filler(each) for each in cast("list[Any]", value)]
            return lambda view: [fill(view) for fill in items]
        case dict():
            entries = {key: _filler(each) for key, each in cast("dict[str, Any]", value).items()}
            return lambda view: {key: fill(view) for key, fill in entries.items()}
        case _:
            return lambda view: value


def _pieces(text: str, pieces: int | str) -> list[str]:
    if pieces == "whole" or pieces == 1 or not text:
        return [text]
    if isinstance(pieces, str):
        return _WORDS.findall(text) or [text]
    count = min(pieces, len(text))
    bounds = [len(text) * place // count for place in range(count + 1)]
    return [text[start:end] for start, end in pairwise(bounds)]


def _holds(when: When, view: TurnView) -> bool:
    if when.user is not None and re.search(when.user, view.user, re.IGNORECASE) is None:
        return False
    if when.tool is None and when.tool_error is None:
        return True
    result = view.last_result
    if result is None:
        return False
    if when.tool is not None and re.search(when.tool, result.content, re.IGNORECASE) is None:
        return False
    return when.tool_error is None or when.tool_error == result.is_error


async def _fail(fault: Fault) -> None:
    if fault.kind == "hang":
        await asyncio.Event().wait()
    after = None if fault.retry_after is None else timedelta(seconds=fault.retry_after)
    raise ModelFault(FaultKind(fault.kind), fault.message, retry_after=after)


def _usage(reply: _Reply, request: ModelRequest, output_size: int) -> ModelUsage:
    if reply.usage is not None:
        return reply.usage
    size = len(request.instructions) + sum(_size(message) for message in request.messages)
    return ModelUsage(input_tokens=(size + 3) // 4, output_tokens=(output_size + 3) // 4)


def _size(message: Message) -> int:
    match message:
        case UserMessage(parts):
            return sum(_part_size(part) for part in parts)
        case AssistantMessage(text=text, calls=calls):
            return len(text) + sum(len(call.arguments_json) for call in calls)
        case ToolMessage(content=content):
            return len(content)


def _part_size(part: TextPart | BinaryPart | JsonPart) -> int:
    match part:
        case TextPart(text):
            return len(text)
        case JsonPart(text):
            return len(text)
        case BinaryPart(content=content):
            return len(content)
