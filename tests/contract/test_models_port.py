"""One suite for every adapter of the model port, against servers that speak the providers' own protocols."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from heddle_core.ids import CountingIds
from heddle_runtime.models.direct import DirectModel, Route
from heddle_runtime.models.port import (
    ArgumentsDelta,
    AssistantMessage,
    BinaryPart,
    FaultKind,
    FinishReason,
    JsonPart,
    Model,
    ModelCall,
    ModelEvent,
    ModelFault,
    ModelReply,
    ModelRequest,
    ReasoningDelta,
    TextDelta,
    TextPart,
    ToolDeclaration,
    ToolMessage,
    UserMessage,
)
from heddle_runtime.models.scenario import Call, Fault, Scenario, Step, Stream, Usage
from heddle_runtime.models.scripted import ScriptedModel
from tests.kit.model_servers import (
    FakeAnswer,
    FakeCall,
    ModelServer,
    anthropic_server,
    google_server,
    openai_server,
)

KEY = "sk-very-secret-key-0123456789"

LOOKUP = ToolDeclaration(
    "lookup", "Looks a word up.", '{"type":"object","properties":{"q":{"type":"string"}},"required":["q"]}'
)


@dataclass(frozen=True)
class Subject:
    """A model, and the server behind it if there is one."""

    model: Model
    server: ModelServer | None


@dataclass(frozen=True)
class Adapter:
    """One adapter, and what its protocol can express."""

    name: str
    open: Callable[[FakeAnswer], AbstractAsyncContextManager[Subject]]
    can_mangle: bool = True
    can_cut: bool = True
    streams: bool = True
    reasons: bool = True


def _direct(
    provider: str, model: str, *, streams_tool_calls: bool = True
) -> Callable[[FakeAnswer], AbstractAsyncContextManager[Subject]]:
    servers = {"anthropic": (anthropic_server, ""), "google": (google_server, "")}
    make, path = servers.get(provider, (openai_server, "/v1"))

    @asynccontextmanager
    async def opened(answer: FakeAnswer) -> AsyncIterator[Subject]:
        async with make(answer) as server:
            route = Route(provider, model, KEY, server.url + path, streams_tool_calls)
            subject = DirectModel(route, CountingIds())
            try:
                yield Subject(subject, server)
            finally:
                await subject.close()

    return opened


@asynccontextmanager
async def _scripted(answer: FakeAnswer) -> AsyncIterator[Subject]:
    stop = answer.cut_after if answer.cut_after is not None else answer.hang_after
    fault = None
    if answer.status != 200:
        kind = {429: "retryable", 500: "retryable", 400: "refused"}.get(answer.status, "misconfigured")
        after = dict(answer.headers).get("retry-after")
        fault = Fault(kind=kind, message=answer.error.replace(KEY, ""), retry_after=float(after) if after else None)
    elif stop is not None or answer.end_after is not None:
        fault = Fault(kind="retryable" if answer.hang_after is None else "hang", after_deltas=1)
    step = Step(
        deltas=answer.text,
        stream=Stream(pieces="whole"),
        reasoning=answer.reasoning,
        calls=tuple(
            Call(
                tool=each.tool,
                raw_arguments="".join(each.fragments),
                id=each.call_id,
                pieces=len(each.fragments),
            )
            for each in answer.calls
        ),
        finish=None if answer.calls else answer.finish,
        usage=Usage(input=answer.input_tokens, output=answer.output_tokens, cached=answer.cached_tokens),
        fault=fault,
    )
    yield Subject(ScriptedModel(answer.model, Scenario(steps=(step,)), CountingIds()), None)


ADAPTERS = (
    Adapter("scripted", _scripted),
    Adapter("openai", _direct("openai", "gpt-4o-mini"), reasons=False),
    Adapter("anthropic", _direct("anthropic", "claude-haiku-4-5")),
    Adapter("google", _direct("google", "gemini-2.5-flash"), can_mangle=False),
    Adapter("compatible", _direct("compatible", "tiny"), reasons=False),
    Adapter(
        "compatible, whole answers",
        _direct("compatible", "tiny", streams_tool_calls=False),
        can_cut=False,
        streams=False,
        reasons=False,
    ),
)


@pytest.fixture(params=ADAPTERS, ids=lambda adapter: adapter.name)
def adapter(request: pytest.FixtureRequest) -> Adapter:
    return request.param


def request(*messages: UserMessage | AssistantMessage | ToolMessage, **changes: object) -> ModelRequest:
    said = messages or (UserMessage((TextPart("Look up looms."),)),)
    return replace(ModelRequest("the-model", "Be brief.", said, (LOOKUP,)), **changes)  # type: ignore[arg-type]


async def collect(model: Model, asked: ModelRequest) -> list[ModelEvent]:
    async with aclosing(model.stream(asked)) as events:
        return [event async for event in events]


async def ask(subject: Subject, asked: ModelRequest) -> ModelReply:
    events = await collect(subject.model, asked)
    reply = events[-1]
    assert isinstance(reply, ModelReply)
    return reply


async def fault(subject: Subject, asked: ModelRequest) -> ModelFault:
    with pytest.raises(ModelFault) as raised:
        await collect(subject.model, asked)
    return raised.value


async def test_deltas_joined_are_the_text_and_the_reply_comes_once_and_last(adapter: Adapter) -> None:
    async with adapter.open(FakeAnswer(text=("Loom", "s wea", "ve. ☃"))) as subject:
        events = await collect(subject.model, request())
    reply = events[-1]
    assert isinstance(reply, ModelReply)
    assert [type(event) for event in events].count(ModelReply) == 1
    pieces = [event.text for event in events if isinstance(event, TextDelta)]
    assert "".join(pieces) == reply.text == "Looms weave. ☃"
    assert "" not in pieces
    assert len(pieces) == (3 if adapter.streams else 1)
    assert reply.finish_reason is FinishReason.STOP


async def test_the_reply_names_the_model_that_answered_and_its_tokens(adapter: Adapter) -> None:
    async with adapter.open(FakeAnswer(text=("yes",), model="fake-1-2026-08-07")) as subject:
        reply = await ask(subject, request())
    assert reply.model == "fake-1-2026-08-07"
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (50, 7)
    assert reply.usage.cached_input_tokens == 10


async def test_reasoning_comes_apart_from_the_text(adapter: Adapter) -> None:
    if not adapter.reasons:
        pytest.skip("this protocol has no agreed place for reasoning")
    async with adapter.open(FakeAnswer(text=("yes",), reasoning="because")) as subject:
        events = await collect(subject.model, request())
    reply = events[-1]
    assert isinstance(reply, ModelReply)
    assert (reply.text, reply.reasoning) == ("yes", "because")
    assert [event.text for event in events if isinstance(event, ReasoningDelta)] == ["because"]


async def test_a_tool_call_arrives_with_its_arguments(adapter: Adapter) -> None:
    call = FakeCall("lookup", ('{"q": ', '"looms"}'), "call_abc")
    async with adapter.open(FakeAnswer(text=("Let me see. ",), calls=(call,))) as subject:
        events = await collect(subject.model, request())
    reply = events[-1]
    assert isinstance(reply, ModelReply)
    assert reply.finish_reason is FinishReason.TOOL_CALLS
    (made,) = reply.calls
    assert (made.tool, made.call_id, made.problem) == ("lookup", "call_abc", None)
    assert json.loads(made.arguments_json) == {"q": "looms"}
    fragments = [event for event in events if isinstance(event, ArgumentsDelta)]
    assert "".join(each.fragment for each in fragments) == made.arguments_json
    assert {(each.call_id, each.tool) for each in fragments} == {("call_abc", "lookup")}


async def test_repeated_and_missing_call_ids_are_minted_anew(adapter: Adapter) -> None:
    calls = tuple(FakeCall("lookup", ('{"q":"a"}',), call_id) for call_id in ("same", "same", None, "not an id!"))
    async with adapter.open(FakeAnswer(calls=calls)) as subject:
        reply = await ask(subject, request())
    ids = [call.call_id for call in reply.calls]
    assert len(set(ids)) == len(ids) == 4
    assert ids[0] == "same"
    assert "not an id!" not in ids


async def test_a_call_id_that_the_history_has_used_is_minted_anew(adapter: Adapter) -> None:
    history = (
        UserMessage((TextPart("go"),)),
        AssistantMessage("", calls=(ModelCall("call_0", "lookup", '{"q":"a"}'),)),
        ToolMessage("call_0", "lookup", "found"),
    )
    async with adapter.open(FakeAnswer(calls=(FakeCall("lookup", ('{"q":"b"}',), "call_0"),))) as subject:
        reply = await ask(subject, request(*history))
    assert reply.calls[0].call_id != "call_0"


async def test_mangled_arguments_are_handed_over_to_the_letter_with_the_problem(adapter: Adapter) -> None:
    if not adapter.can_mangle:
        pytest.skip("this protocol carries arguments as an object, not as text")
    async with adapter.open(FakeAnswer(calls=(FakeCall("lookup", ('{"q": ', '"loo'), "call_1"),))) as subject:
        reply = await ask(subject, request())
    (call,) = reply.calls
    assert call.arguments_json == '{"q": "loo'
    assert call.problem is not None
    assert "not valid JSON" in call.problem


async def test_two_hundred_calls_in_one_reply_all_arrive_in_order(adapter: Adapter) -> None:
    calls = tuple(FakeCall("lookup", (f'{{"q":"{n}"}}',), f"call_{n}") for n in range(200))
    async with adapter.open(FakeAnswer(calls=calls)) as subject:
        reply = await ask(subject, request())
    assert [json.loads(call.arguments_json)["q"] for call in reply.calls] == [str(n) for n in range(200)]
    assert len({call.call_id for call in reply.calls}) == 200


@pytest.mark.parametrize(
    ("finish", "reason"), [("length", FinishReason.LENGTH), ("content_filter", FinishReason.CONTENT_FILTER)]
)
async def test_the_reason_for_stopping_is_kept(adapter: Adapter, finish: str, reason: FinishReason) -> None:
    async with adapter.open(FakeAnswer(text=("half an ans",), finish=finish)) as subject:
        assert (await ask(subject, request())).finish_reason is reason


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (429, FaultKind.RETRYABLE),
        (500, FaultKind.RETRYABLE),
        (400, FaultKind.REFUSED),
        (401, FaultKind.MISCONFIGURED),
        (404, FaultKind.MISCONFIGURED),
    ],
)
async def test_a_refusal_is_sorted_and_is_not_tried_again(adapter: Adapter, status: int, kind: FaultKind) -> None:
    async with adapter.open(FakeAnswer(status=status)) as subject:
        raised = await fault(subject, request())
        assert raised.kind is kind
        assert "the server says no" in raised.message
        if subject.server is not None:
            assert len(subject.server.seen) == 1


async def test_the_wait_that_a_provider_asks_for_is_told(adapter: Adapter) -> None:
    async with adapter.open(FakeAnswer(status=429, headers=(("retry-after", "3"),))) as subject:
        assert (await fault(subject, request())).retry_after == timedelta(seconds=3)


async def test_no_fault_tells_the_key(adapter: Adapter) -> None:
    async with adapter.open(FakeAnswer(status=401, error=f"Incorrect API key provided: {KEY}")) as subject:
        raised = await fault(subject, request())
    assert KEY not in str(raised)
    assert KEY not in repr(raised)
    assert "Incorrect API key provided" in str(raised)


@pytest.mark.parametrize("ending", ["cut", "ended without an end"])
async def test_an_answer_that_breaks_off_is_retryable(adapter: Adapter, ending: str) -> None:
    if not adapter.can_cut:
        pytest.skip("a whole answer has no middle")
    answer = FakeAnswer(text=("one ", "two ", "three "), **{"cut_after" if ending == "cut" else "end_after": 2})
    async with adapter.open(answer) as subject:
        heard: list[ModelEvent] = []
        with pytest.raises(ModelFault) as raised:
            async with aclosing(subject.model.stream(request())) as events:
                async for event in events:
                    heard.append(event)
    assert raised.value.kind is FaultKind.RETRYABLE
    assert not any(isinstance(event, ModelReply) for event in heard)


async def test_closing_the_iterator_ends_the_call_at_the_server(adapter: Adapter) -> None:
    if not adapter.streams:
        pytest.skip("nothing to close before the whole answer is here")
    async with adapter.open(FakeAnswer(text=("one ", "two ", "three "), hang_after=3)) as subject:
        async with asyncio.timeout(10), aclosing(subject.model.stream(request())) as events:
            assert isinstance(await anext(events), TextDelta)
        if subject.server is not None:
            async with asyncio.timeout(5):
                await subject.server.abandoned.wait()


async def test_cancelling_the_reader_of_a_hanging_call_ends_it(adapter: Adapter) -> None:
    if not adapter.streams:
        pytest.skip("the fake hangs in streams only")
    async with adapter.open(FakeAnswer(text=("one ", "two ", "three "), hang_after=3)) as subject:
        heard = asyncio.Event()

        async def read() -> None:
            async with aclosing(subject.model.stream(request())) as events:
                async for _ in events:
                    heard.set()

        reading = asyncio.create_task(read())
        async with asyncio.timeout(10):
            await heard.wait()
            if subject.server is not None:
                await subject.server.hanging.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        if subject.server is not None:
            async with asyncio.timeout(5):
                await subject.server.abandoned.wait()


async def test_a_history_of_every_kind_of_message_is_taken(adapter: Adapter) -> None:
    png = bytes.fromhex("89504e470d0a1a0a")
    history = (
        UserMessage((TextPart("See this."), BinaryPart("image/png", png), JsonPart('{"a": 1}'))),
        AssistantMessage(
            "Two calls.",
            "I thought.",
            (
                ModelCall("call_1", "lookup", '{"q":"a"}'),
                ModelCall("call_2", "lookup", '{"q": ', "the arguments are not valid JSON: cut"),
            ),
        ),
        ToolMessage("call_1", "lookup", '{"found": true}'),
        ToolMessage("call_2", "lookup", "the arguments are not valid JSON", is_error=True),
        UserMessage((TextPart("And now?"),)),
    )
    async with adapter.open(FakeAnswer(text=("done",))) as subject:
        assert (await ask(subject, request(*history))).text == "done"
        if subject.server is None:
            return
        sent = json.dumps(subject.server.seen[0].body)
    for words in ("See this.", "Be brief.", "Two calls.", "And now?", "Looks a word up."):
        assert words in sent
    assert "I thought." not in sent
    assert sent.index("found") < sent.index("And now?")


async def test_the_knobs_reach_the_provider(adapter: Adapter) -> None:
    schema = '{"type":"object","properties":{"title":{"type":"string"}},"required":["title"]}'
    asked = request(tools=(), response_schema_json=schema, max_output_tokens=77, temperature=0.5, seed=4)
    async with adapter.open(FakeAnswer(text=('{"title":"x"}',))) as subject:
        assert (await ask(subject, asked)).text == '{"title":"x"}'
        if subject.server is None:
            return
        sent = json.dumps(subject.server.seen[0].body)
    assert "77" in sent
    assert "0.5" in sent
    assert '"title"' in sent


async def test_one_model_answers_many_calls_at_once(adapter: Adapter) -> None:
    async with adapter.open(FakeAnswer(text=("a", "b"))) as subject:
        replies = await asyncio.gather(*(ask(subject, request()) for _ in range(8)))
    assert [reply.text for reply in replies] == ["ab"] * 8
