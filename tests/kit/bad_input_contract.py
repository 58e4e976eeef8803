"""What a server serves, as its own reflection tells it: nothing here knows a service by name."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import cast

import grpc
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

_OURS = "heddle."


@dataclass(frozen=True)
class Rpc:
    """One RPC that is served."""

    path: str
    request: type[Message]
    streams: bool
    """Whether it answers with a stream."""

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def descriptor(self) -> Descriptor:
        return cast("Descriptor", self.request.DESCRIPTOR)


def served_rpcs(address: str) -> list[Rpc]:
    """Every RPC of every Heddle service there, in the order of the contract."""
    with grpc.insecure_channel(address) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        pool = DescriptorPool(database)
        names = sorted(name for name in database.get_services() if name.startswith(_OURS))
        found: list[Rpc] = []
        for name in names:
            service = pool.FindServiceByName(name)
            for method in service.methods:
                assert not method.client_streaming, f"{name}/{method.name} takes a stream: teach this suite to send one"
                request = GetMessageClass(method.input_type)
                found.append(Rpc(f"/{name}/{method.name}", request, method.server_streaming))
    return found


def id_fields(message: Descriptor, prefix: tuple[str, ...] = (), depth: int = 4) -> Iterator[tuple[str, ...]]:
    """The paths of all fields of a request that name something by its id, through messages within."""
    for field in message.fields:
        path = (*prefix, field.name)
        if is_map(field):
            continue
        if field.message_type is not None and depth > 1:
            yield from id_fields(field.message_type, path, depth - 1)
        elif is_id(field) and field.name != "request_id":
            yield path


def is_id(field: FieldDescriptor) -> bool:
    return field.type == FieldDescriptor.TYPE_STRING and field.name.endswith(("_id", "_ids"))


def is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry
