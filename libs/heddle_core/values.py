"""Values: dataclasses that nobody changes, at the price of those that anybody could.

A frozen dataclass sets each field through `object.__setattr__`, which makes it about ten times as dear as a plain one
(0.4 against 5 us for eight fields), and a turn makes hundreds. So the promise is kept by the type checker, which
refuses every assignment to a field of a value, and not once more at run time.
"""

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(cls: type[T]) -> type[T]:
    """Make a class a value: equal by its fields, hashable if they are, with slots, and frozen to the type checker."""
    return dataclass(slots=True, unsafe_hash=True)(cls)
