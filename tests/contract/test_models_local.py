"""The local model for real: runs where xllamacpp and the weights are installed (extra `local`)."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing

import jsonschema
import pytest
import pytest_asyncio

from heddle_core.ids import CountingIds
from heddle_runtime.models.catalogue import LOCAL_MODEL, LOCAL_WINDOW, Catalogue, CatalogueSettings, missing_for_local
from heddle_runtime.models.local.model import LocalModel
from heddle_runtime.models.local.process import ServerProcess
from heddle_runtime.models.port import (
    AssistantMessage,
    FaultKind,
    FinishReason,
    ModelEvent,
    ModelFault,
    ModelReply,
    ModelRequest,
    TextDelta,
    TextPart,
    ToolDeclaration,
    ToolMessage,
    UserMessage,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(missing_for_local() is not None, reason=f"needs the extra 'local': {missing_for_local()}"),
]

SCHEMA = {
    "type": "object",
    "properties": {"q": {"type": "string"}, "kind": {"enum": ["order", "person"]}, "count": {"type": "integer"}},
    "required": ["q", "kind"],
}
LOOKUP = ToolDeclaration("lookup", "Finds something.", json.dumps(SCHEMA))


@pytest_asyncio.fixture
async def model() -> AsyncIterator[LocalModel]:
    subject = LocalModel(CountingIds(), context_window=LOCAL_WINDOW, threads=1)
    yield subject
    await subject.close()


async def collect(model: LocalModel, request: ModelRequest) -> list[ModelEvent]:
    async with aclosing(model.stream(request)) as events:
        return [event async for event in events]


def asked(text: str, **changes: object) -> ModelRequest:
    return ModelRequest(LOCAL_MODEL, "", (UserMessage((TextPart(text),)),), **changes)  # type: ignore[arg-type]


async def test_it_streams_words_and_counts_them(model: LocalModel) -> None:
    events = await collect(model, asked("Tell me about looms.", max_output_tokens=24, seed=1))
    reply = events[-1]
    assert isinstance(reply, ModelReply)
    pieces = [event.text for event in events if isinstance(event, TextDelta)]
    assert len(pieces) > 5
    assert "".join(pieces) == reply.text
    assert reply.finish_reason is FinishReason.LENGTH
    assert reply.usage.output_tokens == 24
    assert reply.usage.input_tokens > 5


async def test_every_call_is_valid_and_its_result_is_answered_in_words(model: LocalModel) -> None:
    for words in ("Look up order 4711", "please lookup Ana", 'Look up the person called \N{SNOWMAN} "quoted"'):
        (*_, reply) = await collect(model, asked(words, tools=(LOOKUP,)))
        assert isinstance(reply, ModelReply)
        (call,) = reply.calls
        assert (call.tool, call.problem, reply.finish_reason) == ("lookup", None, FinishReason.TOOL_CALLS)
        jsonschema.validate(json.loads(call.arguments_json), SCHEMA)
    history = (
        UserMessage((TextPart("Look up order 4711"),)),
        AssistantMessage("", calls=reply.calls),
        ToolMessage(call.call_id, "lookup", '{"state": "shipped"}'),
    )
    (*_, answer) = await collect(model, ModelRequest(LOCAL_MODEL, "", history, (LOOKUP,), max_output_tokens=16))
    assert isinstance(answer, ModelReply)
    assert answer.text
    assert not answer.calls


async def test_a_response_schema_is_kept(model: LocalModel) -> None:
    schema = {
        "type": "object",
        "properties": {"title": {"type": "string"}, "steps": {"type": "array", "items": {"type": "string"}}},
        "required": ["title", "steps"],
    }
    (*_, reply) = await collect(model, asked("Plan a post on looms.", response_schema_json=json.dumps(schema)))
    assert isinstance(reply, ModelReply)
    if reply.finish_reason is FinishReason.STOP:
        jsonschema.validate(json.loads(reply.text), schema)
    else:
        assert reply.finish_reason is FinishReason.LENGTH


async def test_a_prompt_that_is_too_long_is_refused(model: LocalModel) -> None:
    with pytest.raises(ModelFault, match="context size") as raised:
        await collect(model, asked("word " * 3 * LOCAL_WINDOW))
    assert raised.value.kind is FaultKind.REFUSED


async def test_a_killed_child_is_replaced_at_the_next_call(model: LocalModel) -> None:
    await collect(model, asked("Hello", max_output_tokens=4))
    server = model.server
    first = await server.endpoint()
    async with aclosing(model.stream(asked("Tell me all about looms.", max_output_tokens=400))) as events:
        await anext(events)
        os.kill(first.pid, signal.SIGKILL)
        with pytest.raises(ModelFault) as raised:
            async for _ in events:
                pass
    assert raised.value.kind is FaultKind.RETRYABLE
    (*_, reply) = await collect(model, asked("Hello", max_output_tokens=4))
    assert isinstance(reply, ModelReply)
    assert (await server.endpoint()).pid != first.pid


async def test_closing_a_stream_frees_the_child_for_the_next_call(model: LocalModel) -> None:
    for _ in range(3):
        async with aclosing(model.stream(asked("Tell me all about looms.", max_output_tokens=400))) as events:
            await anext(events)
    async with asyncio.timeout(20):
        await collect(model, asked("Hello", max_output_tokens=4))


async def test_the_child_dies_with_a_parent_that_is_killed() -> None:
    program = (
        "import asyncio\n"
        "from heddle_runtime.models.local.process import ServerProcess\n"
        "async def main():\n"
        "    server = ServerProcess(context_window=512, threads=1)\n"
        "    print((await server.endpoint()).pid, flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, env={"PYTHONPATH": ":".join(sys.path)}
    )
    assert parent.stdout is not None
    child = os.pidfd_open(int(await parent.stdout.readline()))
    parent.kill()
    await parent.wait()
    gone = asyncio.Event()
    asyncio.get_running_loop().add_reader(child, gone.set)
    async with asyncio.timeout(10):
        await gone.wait()
    asyncio.get_running_loop().remove_reader(child)
    os.close(child)


async def test_others_on_the_machine_cannot_use_the_child_without_its_key() -> None:
    server = ServerProcess(context_window=512, threads=1)
    endpoint = await server.endpoint()
    host, port = endpoint.base_url.removeprefix("http://").removesuffix("/v1").split(":")
    body = b'{"messages":[]}'
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /v1/chat/completions HTTP/1.0\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
    refused = await reader.readline()
    writer.close()
    await writer.wait_closed()
    await server.close()
    assert host == "127.0.0.1"
    assert b"401" in refused


async def test_the_catalogue_opens_it_by_name() -> None:
    subject = Catalogue(CatalogueSettings(), CountingIds())
    assert isinstance(subject.open(LOCAL_MODEL), LocalModel)
    await subject.close()
