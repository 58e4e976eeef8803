"""Facts as lines: number, time, kind, run."""

from rich.text import Text

from heddle.runtime.v1.event_pb2 import ThreadEvent
from heddle_cli.display.screen import clean
from heddle_cli.display.times import when

_TELLING = ("attempt", "tool", "call_id", "model", "outcome", "message_id", "input_id", "worker_id")
"""Fields that are worth a place on the line."""


def event_line(event: ThreadEvent) -> Text:
    """One fact as one line."""
    kind = event.WhichOneof("payload")
    line = Text(f"{event.sequence:>6}  {when(event.commit_time)}  ")
    line.append(f"{kind or 'unknown':<28}", style="bold")
    line.append(f"{event.run_id or '-'}", style="dim")
    if kind is not None:
        payload = getattr(event, kind)
        for field in payload.DESCRIPTOR.fields:
            value = getattr(payload, field.name)
            if field.name in _TELLING and value:
                told = field.enum_type.values_by_number[value].name if field.enum_type is not None else value
                line.append(clean(f"  {field.name}={told}"))
    return line
