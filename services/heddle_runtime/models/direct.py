"""Calls OpenAI, Anthropic, Google and every OpenAI-compatible server, through pydantic-ai's direct API.

The library is behind the port, and is loaded at the first call, in a thread: an import of 1 to 3 seconds on
the event loop would hold up every run. Nothing is tried again here, and nothing is reported to anybody.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from contextvars import ContextVar
from dataclasses import field
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from heddle_core.ids import Ids
from heddle_core.values import value
from heddle_runtime.models.assembly import ReplyAssembly
from heddle_runtime.models.direct_faults import fault_of
from heddle_runtime.models.port import FaultKind, ModelEvent, ModelFault, ModelReply, ModelRequest

if TYPE_CHECKING:
    import httpx2
    from pydantic_ai.models import Model as TheirModel

_OPENAI_URL = "https://api.openai.com/v1"
_ANTHROPIC_URL = "https://api.anthropic.com"
_GOOGLE_URL = "https://generativelanguage.googleapis.com"
_NO_KEY = "none"
"""What is sent to a compatible server without a key: the client insists on some text."""


_RESPONSES: "ContextVar[list[httpx2.Response] | None]" = ContextVar("heddle_model_responses", default=None)
"""The HTTP responses that a call being opened has received. Google's library leaves them to the garbage collector,
so that a cancelled call would go on, and be billed; whoever opened one closes it."""


@value
class Route:
    """Where a model is reached."""

    provider: str
    """openai, anthropic, google or compatible."""
    model: str
    """In the provider's words."""
    api_key: str | None = field(default=None, repr=False)
    base_url: str | None = None
    """None for the provider's own address; required for a compatible server."""
    streams_tool_calls: bool = True


class DirectModel:
    """One model of one provider."""

    def __init__(
        self,
        route: Route,
        ids: Ids,
        *,
        connect_timeout: timedelta = timedelta(seconds=5),
        silence_timeout: timedelta = timedelta(seconds=120),
    ) -> None:
        self._route = route
        self._ids = ids
        self._timeouts = (connect_timeout.total_seconds(), silence_timeout.total_seconds())
        self._streams_tool_calls = route.streams_tool_calls
        self._backend: _Backend | None = None
        self._loading = asyncio.Lock()

    async def stream(self, request: ModelRequest) -> AsyncGenerator[ModelEvent, None]:
        """Ask the provider once. See `port.Model`."""
        secrets = (self._route.api_key,) if self._route.api_key else ()
        try:
            backend = await self._load()
            assembly = ReplyAssembly(request, self._ids)
            whole = bool(request.tools) and not self._streams_tool_calls
            answer = _ask_whole if whole else _ask_streaming
            async with aclosing(answer(backend.model, request, assembly)) as events:
                async for event in events:
                    if isinstance(event, ModelReply):
                        self._judge_streaming(event)
                    yield event
        except ModelFault:
            raise
        except Exception as error:
            # Not `from error`: its words are not scrubbed, and a logged traceback would print them.
            raise fault_of(error, self._route.model, secrets) from None

    async def close(self) -> None:
        """Close the connections."""
        backend, self._backend = self._backend, None
        if backend is not None:
            await backend.http.aclose()

    async def _load(self) -> "_Backend":
        async with self._loading:
            if self._backend is None:
                self._backend = await asyncio.to_thread(_connect, self._route, *self._timeouts)
            return self._backend

    def _judge_streaming(self, reply: ModelReply) -> None:
        # Some compatible servers mangle the arguments only when they stream them: from then on they are asked
        # for whole answers. A cut by length mangles honestly.
        mangled = any(call.problem for call in reply.calls)
        if mangled and self._route.provider == "compatible" and reply.finish_reason.value != "length":
            self._streams_tool_calls = False


class _Backend(NamedTuple):
    model: "TheirModel"
    http: "httpx2.AsyncClient"


async def _ask_streaming(
    model: "TheirModel", request: ModelRequest, assembly: ReplyAssembly
) -> AsyncGenerator[ModelEvent, None]:
    from pydantic_ai.direct import model_request_stream

    from heddle_runtime.models import direct_codec as codec

    async with AsyncExitStack() as stack:
        # No yield between these two: a context variable must be put back where it was set.
        responses: list[httpx2.Response] = []
        before = _RESPONSES.set(responses)
        try:
            answer = await stack.enter_async_context(
                model_request_stream(
                    model,
                    codec.to_history(request),
                    model_settings=codec.to_settings(request),
                    model_request_parameters=codec.to_parameters(request, native_schema=_takes_schema(model)),
                    instrument=False,
                )
            )
        finally:
            _RESPONSES.reset(before)
        stack.push_async_callback(_close_all, responses)
        async for event in answer:
            if (ours := codec.take_event(assembly, event)) is not None:
                yield ours
        if answer.finish_reason is None:
            raise ModelFault(
                FaultKind.RETRYABLE, f"{request.model} broke off before it said that it was done: try again"
            )
        yield assembly.finish(
            finish_reason=codec.to_finish_reason(answer.finish_reason),
            usage=codec.to_usage(answer.usage),
            model=answer.model_name,
        )


async def _ask_whole(
    model: "TheirModel", request: ModelRequest, assembly: ReplyAssembly
) -> AsyncGenerator[ModelEvent, None]:
    from pydantic_ai.direct import model_request

    from heddle_runtime.models import direct_codec as codec

    answer = await model_request(
        model,
        codec.to_history(request),
        model_settings=codec.to_settings(request),
        model_request_parameters=codec.to_parameters(request, native_schema=_takes_schema(model)),
        instrument=False,
    )
    for index, part in enumerate(answer.parts):
        if (ours := codec.take_part(assembly, index, part)) is not None:
            yield ours
    yield assembly.finish(
        finish_reason=codec.to_finish_reason(answer.finish_reason),
        usage=codec.to_usage(answer.usage),
        model=answer.model_name or request.model,
    )


async def _note_response(response: "httpx2.Response") -> None:
    if (responses := _RESPONSES.get()) is not None:
        responses.append(response)


async def _close_all(responses: "list[httpx2.Response]") -> None:
    for response in responses:
        await response.aclose()


def _takes_schema(model: "TheirModel") -> bool:
    return bool(model.profile.get("supports_json_schema_output", False))


def _connect(route: Route, connect_timeout: float, silence_timeout: float) -> _Backend:
    """Import the provider's library and make its client. Slow the first time: call it in a thread."""
    import httpx2

    timeout = httpx2.Timeout(silence_timeout, connect=connect_timeout)
    http = httpx2.AsyncClient(timeout=timeout, follow_redirects=False, event_hooks={"response": [_note_response]})
    match route.provider:
        case "anthropic":
            from anthropic import AsyncAnthropic
            from pydantic_ai.models.anthropic import AnthropicModel
            from pydantic_ai.providers.anthropic import AnthropicProvider

            anthropic = AsyncAnthropic(
                api_key=route.api_key,
                base_url=route.base_url or _ANTHROPIC_URL,
                max_retries=0,
                timeout=timeout,
                http_client=http,
            )
            return _Backend(AnthropicModel(route.model, provider=AnthropicProvider(anthropic_client=anthropic)), http)
        case "google":
            from google.genai.types import HttpRetryOptions
            from pydantic_ai.models.google import GoogleModel
            from pydantic_ai.providers.google import GoogleProvider

            google = GoogleProvider(
                api_key=route.api_key,
                base_url=route.base_url or _GOOGLE_URL,
                http_client=http,
                retry_options=HttpRetryOptions(attempts=1),
            )
            return _Backend(GoogleModel(route.model, provider=google), http)
        case _:
            from openai import AsyncOpenAI
            from pydantic_ai.models.openai import OpenAIChatModel
            from pydantic_ai.profiles.openai import OpenAIModelProfile
            from pydantic_ai.providers.openai import OpenAIProvider
            from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider

            openai = AsyncOpenAI(
                api_key=route.api_key or _NO_KEY,
                base_url=route.base_url or _OPENAI_URL,
                max_retries=0,
                timeout=timeout,
                http_client=http,
            )
            if route.provider == "openai":
                provider = OpenAIProvider(openai_client=openai)
            else:
                provider = OpenAICompatibleProvider("compatible", openai_client=openai)
            # A stream that just ends was cut: without this it would pass for a whole answer.
            profile = OpenAIModelProfile(openai_chat_streaming_requires_finish_reason=True)
            return _Backend(OpenAIChatModel(route.model, provider=provider, profile=profile), http)
