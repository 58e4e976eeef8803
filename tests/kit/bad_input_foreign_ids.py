"""Another tenant's id, beside one that nobody has: the answers may not differ (P17)."""

import secrets
from typing import Any

from google.protobuf.descriptor import FieldDescriptor

from tests.kit.bad_input_batches import Sender
from tests.kit.bad_input_checks import comparable
from tests.kit.bad_input_contract import Rpc


async def difference(sender: Sender, rpc: Rpc, request: Any, path: tuple[str, ...], theirs: str) -> list[str]:
    """What is different between the answers to a foreign id at `path` and to one that nobody has; empty if nothing.

    The first of the two may change what the second meets, so neither holds the object to an etag.
    """
    unknown = theirs[:4] + secrets.token_hex(len(theirs))[4 : len(theirs)]
    fields = rpc.descriptor.fields_by_name
    if "etag" in fields:
        request.ClearField("etag")
    answers: list[object] = []
    tried = [theirs, unknown]
    for named in (theirs, unknown):
        _put(request, path, named)
        if "request_id" in fields:
            request.request_id = f"r{secrets.token_hex(8)}"
            tried.append(request.request_id)
        error = await sender.send(rpc, request.SerializeToString())
        answers.append("OK" if error is None else comparable(error, tried))
    if answers[0] == answers[1]:
        return []
    return [f"{rpc.name}.{'.'.join(path)}: {theirs} gets {answers[0]}, an unknown id {answers[1]}; asked {request}"]


def _put(message: Any, path: tuple[str, ...], value: str) -> None:
    """Set the field at a path, alone where it is repeated."""
    for name in path[:-1]:
        inner = getattr(message, name)
        if message.DESCRIPTOR.fields_by_name[name].is_repeated:
            message.ClearField(name)
            inner = getattr(message, name).add()
        message = inner
    field: FieldDescriptor = message.DESCRIPTOR.fields_by_name[path[-1]]
    if field.is_repeated:
        message.ClearField(field.name)
        getattr(message, field.name).append(value)
    else:
        setattr(message, field.name, value)
