"""What every service with tools of its own does with a call: whose it is, what it asks for, and how it is answered."""

import json
from collections.abc import Mapping
from typing import TypeVar

from google.protobuf.duration_pb2 import Duration
from pydantic import BaseModel, ValidationError

from heddle.common.v1.content_pb2 import ContentPart
from heddle.tools.v1 import tool_service_pb2 as pb
from heddle.tools.v1.tool_pb2 import RISK_CLASS_WRITE, Tool
from heddle_core.errors import InvalidField, invalid
from heddle_core.faults import HeddleError, Violation
from heddle_core.ids import is_id
from heddle_grpc.authorization import Rule
from heddle_grpc.identity import ACT_AS

RULES: Mapping[str, Rule] = {"ListTools": ACT_AS, "CallTool": ACT_AS}
"""Which scope each RPC asks for. A call names tenant and principal itself, so only who may act for others calls. The
list asks for the same, so that a runtime whose credential will not do is told when the provider is registered.
"""

Arguments = TypeVar("Arguments", bound=BaseModel)


def declared(name: str, description: str, schema: Mapping[str, object], category: str) -> Tool:
    """A tool that changes only what is the service's own, and may be called again: its call's id makes it one."""
    return Tool(
        name=name,
        description=description,
        parameters_json=json.dumps(schema),
        risk=RISK_CLASS_WRITE,
        idempotent=True,
        deadline=Duration(seconds=60),
        category=category,
    )


def check_context(given: pb.CallContext, *required: str) -> None:
    """Raises InvalidField unless the call says whose it is, and has these other fields of its context."""
    for name in ("tenant", "principal", "run_id", *required):
        if not getattr(given, name):
            raise invalid(f"context.{name}", "is required: the runtime sets it with every call")
    if not is_id(given.tenant):
        raise invalid("context.tenant", "must be 1 to 64 characters of A-Z, a-z, 0-9, _ and -")


def read_arguments(kind: type[Arguments], arguments_json: str) -> Arguments:
    """The arguments in a JSON text. Raises InvalidField, naming each bad field by its path."""
    try:
        return kind.model_validate_json(arguments_json or "{}")
    except ValidationError as error:
        found = (
            Violation(".".join(str(step) for step in each["loc"]) or "arguments", each["msg"])
            for each in error.errors(include_url=False, include_input=False)
        )
        raise InvalidField(tuple(found)) from error


def answered(text: str) -> pb.CallToolResponse:
    """The end of a call that went well."""
    return pb.CallToolResponse(result=pb.ToolResult(outcome=pb.TOOL_OUTCOME_OK, content=[ContentPart(text=text)]))


def refused(error: HeddleError) -> pb.CallToolResponse:
    """The end of a call that did not, with the reason for the model to read."""
    said = json.dumps({"error": error.reason, "message": str(error)}, ensure_ascii=False)
    result = pb.ToolResult(outcome=pb.TOOL_OUTCOME_ERROR, content=[ContentPart(json=said)])
    return pb.CallToolResponse(result=result)
