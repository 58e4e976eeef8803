"""A small proto service, compiled when a test first asks for it, and a server and a channel around it."""

import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

from heddle_core.ids import CountingIds, PrincipalId, TenantId
from heddle_grpc.authorization import Access, Rule
from heddle_grpc.channel import Channel, open_channel
from heddle_grpc.identity import Authenticator, Development, Identity
from heddle_grpc.routes import Service
from heddle_grpc.server import Server
from heddle_grpc.settings import ChannelSettings, ServerSettings

NAME = "heddle.kit.v1.Probe"
METHODS = ("Ask", "Watch", "Collect", "Talk", "Missing")
RULES: Mapping[str, Rule] = dict.fromkeys(METHODS, Access.ANYBODY_KNOWN)
SOMEBODY = Identity(TenantId("acme"), PrincipalId("ada"), frozenset({"ask"}))


@cache
def _loaded() -> descriptor_pool.DescriptorPool:
    import google.api.field_behavior_pb2
    import google.protobuf.any_pb2
    import google.protobuf.duration_pb2
    import google.protobuf.field_mask_pb2
    import google.protobuf.struct_pb2
    import google.protobuf.timestamp_pb2
    import google.type.money_pb2
    from grpc_tools import protoc

    here = Path(__file__).parent
    includes = [Path(protoc.__file__).parent / "_proto", Path(google.type.money_pb2.__file__).parents[2]]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "probe.binpb"
        paths = [f"-I{here}", *(f"-I{each}" for each in includes)]
        code = protoc.main(["protoc", *paths, f"--descriptor_set_out={out}", "grpc_probe.proto"])
        assert code == 0, "grpc_probe.proto does not compile"
        files = descriptor_pb2.FileDescriptorSet.FromString(out.read_bytes())
    pool = descriptor_pool.Default()
    for each in files.file:
        pool.Add(each)
    return pool


def message(name: str) -> Any:
    """The class of a message in grpc_probe.proto."""
    return message_factory.GetMessageClass(_loaded().FindMessageTypeByName(f"heddle.kit.v1.{name}"))


def ask(text: str = "", **fields: Any) -> Message:
    """A request that passes every check, unless `fields` break one."""
    fields.setdefault("request_id", "r1")
    request = message("AskRequest")(**fields)
    if text:
        request.content.add(text=text)
    return request


def answer(text: str = "", number: int = 0) -> Message:
    return message("AskResponse")(text=text, number=number)


class Probe:
    """Calls of the service, over any channel."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        request, response = message("AskRequest"), message("AskResponse")
        coders = {
            "request_serializer": lambda m: m if isinstance(m, bytes) else request.SerializeToString(m),
            "response_deserializer": response.FromString,
        }
        self.ask = channel.unary_unary(f"/{NAME}/Ask", **coders)
        self.watch = channel.unary_stream(f"/{NAME}/Watch", **coders)
        self.collect = channel.stream_unary(f"/{NAME}/Collect", **coders)
        self.talk = channel.stream_stream(f"/{NAME}/Talk", **coders)
        self.missing = channel.unary_unary(f"/{NAME}/Missing", **coders)
        self.unknown = channel.unary_unary(f"/{NAME}/Unknown", **coders)
        self.unknown_stream = channel.unary_stream("/no.such.Service/Watch", **coders)


class Servicer:
    """Answers with what the test gives it; echoes by default."""

    async def Ask(self, request: Any, context: Any) -> Message:
        return answer(request.content[0].text if request.content else "")

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Message]:
        for number in range(3):
            yield answer(number=number)

    async def Collect(self, requests: Any, context: Any) -> Message:
        return answer("+".join([each.content[0].text async for each in requests]))

    async def Talk(self, requests: Any, context: Any) -> AsyncIterator[Message]:
        async for each in requests:
            yield answer(each.content[0].text)


def serving(
    servicer: object | None = None,
    *,
    settings: ServerSettings | None = None,
    authenticators: Sequence[Authenticator] | None = None,
    rules: Mapping[str, Rule] = RULES,
    **rest: Any,
) -> Server:
    """A server of the probe on a free loopback port, not yet running."""
    _loaded()
    return Server(
        settings or local(),
        [Service(NAME, servicer or Servicer(), rules)],
        authenticators=[Development(SOMEBODY)] if authenticators is None else authenticators,
        ids=CountingIds(),
        **rest,
    )


def local(**fields: Any) -> ServerSettings:
    """Settings of a server on a free loopback port that waits for nobody."""
    given = {"listen": ["127.0.0.1:0"], "stream_grace": 0.2, "grace": 0.2, **fields}
    return ServerSettings.model_validate(given)


def reaching(server: Server, **fields: Any) -> Channel:
    """A channel of Heddle's to `server`, which tries once."""
    token = fields.pop("token", None)
    address = f"127.0.0.1:{server.ports[0]}"
    settings = ChannelSettings.model_validate({"address": address, "attempts": 1, **fields})
    return open_channel(settings, token=token)


@asynccontextmanager
async def probing(servicer: object | None = None, **rest: Any) -> AsyncIterator[Probe]:
    """The probe's calls against a running server."""
    async with serving(servicer, **rest).running() as server, reaching(server) as channel:
        yield Probe(channel)


@asynccontextmanager
async def probing_raw(servicer: object | None = None, **rest: Any) -> AsyncIterator[Probe]:
    """The same over a bare grpc.aio channel, as a client without Heddle has it."""
    async with serving(servicer, **rest).running() as server:
        options = (("grpc.enable_retries", 0),)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.ports[0]}", options) as channel:
            yield Probe(channel)
