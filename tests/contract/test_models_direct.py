"""What only the adapter of OpenAI-compatible servers does, and how it meets servers that are away or silent."""

from contextlib import aclosing
from datetime import timedelta

import pytest

from heddle_core.ids import CountingIds
from heddle_runtime.models.direct import DirectModel, Route
from heddle_runtime.models.port import (
    AssistantMessage,
    FaultKind,
    Message,
    ModelFault,
    ModelReply,
    ModelRequest,
    TextPart,
    ToolDeclaration,
    UserMessage,
)
from tests.kit.model_servers import FakeAnswer, FakeCall, openai_server

LOOKUP = ToolDeclaration("lookup", "Looks a word up.", '{"type":"object","properties":{"q":{"type":"string"}}}')
SAID = UserMessage((TextPart("Look up looms."),))


async def ask(model: DirectModel, *tools: ToolDeclaration, messages: tuple[Message, ...] = (SAID,)) -> ModelReply:
    async with aclosing(model.stream(ModelRequest("compatible:box/tiny", "", messages, tools))) as events:
        heard = [event async for event in events]
    reply = heard[-1]
    assert isinstance(reply, ModelReply)
    return reply


async def fault(model: DirectModel) -> ModelFault:
    with pytest.raises(ModelFault) as raised:
        await ask(model)
    return raised.value


async def test_a_history_that_ends_with_the_model_is_sent_as_it_is() -> None:
    async with openai_server(FakeAnswer(text=("more",))) as server:
        model = DirectModel(Route("compatible", "tiny", None, server.url + "/v1"), CountingIds())
        assert (await ask(model, messages=(SAID, AssistantMessage("Once upon")))).text == "more"
        await model.close()
        assert server.seen[0].body["messages"][-1] == {"role": "assistant", "content": "Once upon"}


async def test_a_server_without_a_key_gets_none_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-for-you")
    async with openai_server(FakeAnswer(text=("yes",))) as server:
        model = DirectModel(Route("compatible", "tiny", None, server.url + "/v1"), CountingIds())
        await ask(model)
        await model.close()
        assert "sk-not-for-you" not in str(server.seen[0])


async def test_a_server_that_mangles_streamed_calls_is_asked_for_whole_answers_from_then_on() -> None:
    mangled = FakeAnswer(calls=(FakeCall("lookup", ('{"q"', ': "a"'), "call_1"),))
    async with openai_server(mangled) as server:
        model = DirectModel(Route("compatible", "tiny", None, server.url + "/v1"), CountingIds())
        assert (await ask(model, LOOKUP)).calls[0].problem is not None
        server.answers[0] = FakeAnswer(calls=(FakeCall("lookup", ('{"q":"a"}',), "call_1"),))
        assert (await ask(model, LOOKUP)).calls[0].problem is None
        assert [bool(seen.body.get("stream")) for seen in server.seen] == [True, False]
        server.answers[0] = FakeAnswer(text=("words", " only"))
        assert (await ask(model)).text == "words only"
        assert server.seen[-1].body["stream"] is True
        await model.close()


async def test_a_server_that_is_not_there_is_retryable() -> None:
    model = DirectModel(Route("compatible", "tiny", None, "http://127.0.0.1:1/v1"), CountingIds())
    raised = await fault(model)
    await model.close()
    assert raised.kind is FaultKind.RETRYABLE


async def test_a_silent_server_is_given_up_as_retryable() -> None:
    async with openai_server(FakeAnswer(text=("one", "two"), hang_after=2)) as server:
        route = Route("compatible", "tiny", None, server.url + "/v1")
        model = DirectModel(route, CountingIds(), silence_timeout=timedelta(milliseconds=200))
        raised = await fault(model)
        await model.close()
    assert raised.kind is FaultKind.RETRYABLE
