"""Translates between the port's words and pydantic-ai's. Imported only when a provider is really called."""

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from pydantic_ai import messages as theirs
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.output import OutputObjectDefinition
from pydantic_ai.settings import ModelSettings
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.usage import RequestUsage

from heddle_runtime.models.assembly import ReplyAssembly, problem_of
from heddle_runtime.models.port import (
    AssistantMessage,
    BinaryPart,
    FinishReason,
    JsonPart,
    ModelEvent,
    ModelRequest,
    ModelUsage,
    Part,
    TextPart,
    ToolDeclaration,
    ToolMessage,
    UserMessage,
)

_FINISH: dict[str | None, FinishReason] = {
    "stop": FinishReason.STOP,
    "tool_call": FinishReason.TOOL_CALLS,
    "length": FinishReason.LENGTH,
    "content_filter": FinishReason.CONTENT_FILTER,
}

_INVENTED_ID = "pyd_ai_"
"""How pydantic-ai begins the ids that it makes up for providers that give none."""


def to_history(request: ModelRequest) -> list[theirs.ModelMessage]:
    """The messages. Results of one step travel in one message, as providers demand."""
    history: list[theirs.ModelMessage] = []
    answers: list[theirs.ModelRequestPart] = []
    for message in request.messages:
        match message:
            case ToolMessage():
                answers.append(_to_return(message))
            case UserMessage(parts):
                # Held back together with the results before it: providers want one turn of the user's side.
                answers.append(theirs.UserPromptPart(content=_to_content(parts)))
            case AssistantMessage():
                if answers:
                    history.append(theirs.ModelRequest(parts=answers))
                    answers = []
                if (spoken := _to_response(message)).parts:
                    history.append(spoken)
    history.append(theirs.ModelRequest(parts=answers, instructions=request.instructions or None))
    return history


def to_parameters(request: ModelRequest, *, native_schema: bool) -> ModelRequestParameters:
    """Tools and the form of the answer. Without `native_schema` the provider is asked for it in words."""
    tools = [_to_tool(each) for each in request.tools]
    if request.response_schema_json is None:
        return ModelRequestParameters(function_tools=tools)
    schema = OutputObjectDefinition(json_schema=json.loads(request.response_schema_json), name="reply")
    return ModelRequestParameters(
        function_tools=tools,
        output_mode="native" if native_schema else "prompted",
        output_object=schema,
    )


def to_settings(request: ModelRequest) -> ModelSettings:
    """The knobs. The SDK tries once: attempts are the caller's to count."""
    settings = ModelSettings(max_retries=0)
    if request.max_output_tokens is not None:
        settings["max_tokens"] = request.max_output_tokens
    if request.temperature is not None:
        settings["temperature"] = request.temperature
    if request.seed is not None:
        settings["seed"] = request.seed
    return settings


def take_event(assembly: ReplyAssembly, event: theirs.ModelResponseStreamEvent) -> ModelEvent | None:
    """Put one streamed event into the reply; the event to hand on, if there is one."""
    match event:
        case theirs.PartStartEvent(index=index, part=part):
            return take_part(assembly, index, part)
        case theirs.PartDeltaEvent(delta=theirs.TextPartDelta(content_delta=words)):
            return assembly.add_text(words)
        case theirs.PartDeltaEvent(delta=theirs.ThinkingPartDelta(content_delta=words)):
            return assembly.add_reasoning(words or "")
        case theirs.PartDeltaEvent(index=index, delta=theirs.ToolCallPartDelta(args_delta=piece)):
            return assembly.add_arguments(index, _arguments(piece)) if assembly.is_open(index) else None
        case _:
            return None


def take_part(assembly: ReplyAssembly, index: int, part: theirs.ModelResponsePart) -> ModelEvent | None:
    """Put one whole part, or the beginning of one, into the reply."""
    match part:
        case theirs.TextPart(content=words):
            return assembly.add_text(words)
        case theirs.ThinkingPart(content=words):
            return assembly.add_reasoning(words)
        case theirs.ToolCallPart(tool_name=tool, args=arguments, tool_call_id=call_id):
            proposed = None if call_id.startswith(_INVENTED_ID) else call_id
            return assembly.open_call(index, tool, proposed, _arguments(arguments))
        case _:
            return None


def to_finish_reason(reason: str | None) -> FinishReason:
    """The port's reason for pydantic-ai's."""
    return _FINISH.get(reason, FinishReason.OTHER)


def to_usage(usage: RequestUsage) -> ModelUsage:
    """The port's counts for pydantic-ai's."""
    return ModelUsage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_input_tokens=usage.cache_read_tokens,
        reasoning_tokens=usage.output_reasoning_tokens,
    )


def _to_content(parts: tuple[Part, ...]) -> str | Sequence[theirs.UserContent]:
    content: list[theirs.UserContent] = []
    for part in parts:
        match part:
            case TextPart(text):
                content.append(text)
            case JsonPart(text):
                content.append(text)
            case BinaryPart(media_type, data):
                content.append(theirs.BinaryContent(data=data, media_type=media_type))
    first = content[0] if content else ""
    return first if len(content) <= 1 and isinstance(first, str) else content


def _to_return(message: ToolMessage) -> theirs.ModelRequestPart:
    return theirs.ToolReturnPart(
        tool_name=message.tool,
        content=message.content,
        tool_call_id=message.call_id,
        outcome="failed" if message.is_error else "success",
    )


def _to_response(message: AssistantMessage) -> theirs.ModelResponse:
    parts: list[theirs.ModelResponsePart] = []
    if message.text:
        parts.append(theirs.TextPart(content=message.text))
    for call in message.calls:
        arguments = call.arguments_json
        if problem_of(arguments) is not None:
            # Providers refuse a history with broken arguments, and the model must see what it wrote.
            arguments = json.dumps({"invalid_json": arguments})
        parts.append(theirs.ToolCallPart(tool_name=call.tool, args=arguments, tool_call_id=call.call_id))
    return theirs.ModelResponse(parts=parts)


@lru_cache(maxsize=1_024)
def _to_tool(tool: ToolDeclaration) -> ToolDefinition:
    schema: dict[str, Any] = json.loads(tool.parameters_json)
    # strict=False: the schema reaches the provider as declared, and the loop validates against the same one.
    return ToolDefinition(name=tool.name, description=tool.description, parameters_json_schema=schema, strict=False)


def _arguments(given: str | Mapping[str, Any] | None) -> str:
    if given is None:
        return ""
    return given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
