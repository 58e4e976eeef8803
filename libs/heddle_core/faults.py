"""What every Heddle error is made of. The family itself stands in `heddle_core.errors` and beside it."""

import re
from dataclasses import dataclass, field, fields
from datetime import timedelta
from enum import Enum
from typing import Any, ClassVar, dataclass_transform


class StatusCode(Enum):
    """The gRPC status codes that Heddle answers with; names and numbers are gRPC's own."""

    CANCELLED = 1
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


@dataclass(frozen=True)
class Violation:
    """One thing that is wrong with one field of a request."""

    field: str
    """Path of the field in proto names, as `content[0].text`."""
    remedy: str
    """What the value must be, in words that tell the caller what to do."""


@dataclass_transform(eq_default=False, field_specifiers=(field,))
class HeddleError(Exception):
    """Something that a caller can be told.

    A subclass is a dataclass without saying so: its docstring is the message, or else that of the class above it, with
    its own fields in braces; its name in upper snake case is the reason of the contract's `ErrorReason`; its fields
    travel as metadata. It names its status as a class argument, and how long to wait before another try where that
    makes sense.
    """

    status: ClassVar[StatusCode]
    retry_after: ClassVar[timedelta | None] = None
    reason: ClassVar[str] = ""

    def __init_subclass__(
        cls, *, status: StatusCode | None = None, retry_after: timedelta | None = None, **arguments: object
    ) -> None:
        super().__init_subclass__(**arguments)
        cls.__doc__ = cls.__doc__ or cls.__mro__[1].__doc__
        dataclass(eq=False)(cls)
        cls.reason = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", cls.__name__).upper()
        cls.retry_after = retry_after
        if status is not None:
            cls.status = status

    def __str__(self) -> str:
        return " ".join((type(self).__doc__ or "").split()).format(**self.metadata)

    @property
    def metadata(self) -> dict[str, str]:
        """The error's own fields as text, for machines."""
        made_a_dataclass: Any = self
        return {each.name: str(getattr(self, each.name)) for each in fields(made_a_dataclass)}
