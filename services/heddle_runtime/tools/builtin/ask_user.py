"""`ask_user`: the model asks a person and gets the answer as the call's result."""

import json
from datetime import timedelta
from typing import Any

from heddle_runtime.runs.inputs import InputOption
from heddle_runtime.tools.builtin.tool import PROVIDER_ID, Arguments, refused, schema_of
from heddle_runtime.tools.port import RiskClass, ToolEnd, ToolInvocation, ToolQuestion, ToolSpec
from heddle_runtime.tools.schema import Schemas

_OPTION: dict[str, Any] = {
    "type": "object",
    "properties": {
        "value": {"type": "string", "minLength": 1, "maxLength": 200, "description": "what you get back"},
        "label": {"type": "string", "maxLength": 200, "description": "what the person sees"},
        "description": {"type": "string", "maxLength": 1000},
    },
    "required": ["value"],
    "additionalProperties": False,
}


class AskUser:
    """Asks; the runtime waits for the answer without holding a worker."""

    spec = ToolSpec(
        provider_id=PROVIDER_ID,
        name="ask_user",
        description=(
            "Ask the user one question and wait for the answer. Use it when you cannot go on without a decision or a "
            "fact that only the user has. Offer options where you can, and say which you recommend."
        ),
        parameters_json=schema_of(
            {
                "question": {"type": "string", "minLength": 1, "maxLength": 4000},
                "options": {"type": "array", "items": _OPTION, "maxItems": 20},
                "recommended": {"type": "string", "description": "value of the option that you recommend"},
                "free_text": {"type": "boolean", "description": "whether words of their own are welcome"},
                "json_schema": {"type": "object", "description": "JSON schema that the answer must fit"},
                "expire_after_seconds": {"type": "integer", "minimum": 1, "maximum": 2_592_000},
            },
            required=("question",),
        ),
        risk=RiskClass.READ,
        read_only=True,
        category="conversation",
    )

    def __init__(self, schemas: Schemas) -> None:
        self._schemas = schemas

    async def perform(self, arguments: Arguments, invocation: ToolInvocation) -> ToolEnd:
        """A question, or what is wrong with it."""
        options = arguments.get("options", [])
        values = [option["value"] for option in options]
        recommended = arguments.get("recommended")
        if len(set(values)) != len(values):
            return refused("Two options have the same value: give each its own.")
        if recommended is not None and recommended not in values:
            return refused(f"{recommended!r} is recommended but is not the value of an option: add it, or choose one.")
        json_schema = json.dumps(arguments["json_schema"]) if "json_schema" in arguments else ""
        problem = self._schemas.problem_of_schema(json_schema) if json_schema else None
        if problem is not None:
            return refused(f"json_schema cannot be used: {problem}")
        seconds = arguments.get("expire_after_seconds")
        return ToolQuestion(
            prompt=arguments["question"],
            options=tuple(
                InputOption(
                    value=option["value"],
                    label=option.get("label", option["value"]),
                    description=option.get("description", ""),
                    recommended=option["value"] == recommended,
                )
                for option in options
            ),
            # A question that offers nothing to choose from and no form to fill can only be answered in words.
            free_text=arguments.get("free_text", not options and not json_schema),
            json_schema=json_schema,
            expire_after=timedelta(seconds=seconds) if seconds is not None else None,
        )
