"""Random values of the runtime's frozen dataclasses, made of their annotations."""

import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import timedelta
from enum import IntEnum
from typing import Any, NewType, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from heddle_core.clock import Micros
from heddle_core.usage import MicroUsd

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
NUMBERS = st.integers(0, 2**31 - 1)
_LONGEST = timedelta(days=3650)


def values_of(cls: type[Any]) -> st.SearchStrategy[Any]:
    """Values of a dataclass, every field at random."""
    hints = get_type_hints(cls)
    return st.builds(cls, **{each.name: _values(hints[each.name]) for each in fields(cls)})


def _values(hint: Any) -> st.SearchStrategy[Any]:
    if get_origin(hint) in (Union, types.UnionType):
        return st.one_of([st.none() if each is type(None) else _values(each) for each in get_args(hint)])
    if get_origin(hint) is tuple:
        return st.lists(_values(get_args(hint)[0]), max_size=3).map(tuple)
    if get_origin(hint) in (Mapping, dict):
        return st.dictionaries(TEXT, TEXT, max_size=3)
    if hint is Micros:
        return st.integers(0, 4 * 10**15).map(Micros)
    if hint is MicroUsd:
        return st.integers(-(10**12), 10**12).map(MicroUsd)
    if isinstance(hint, NewType):
        return _values(hint.__supertype__)
    return _plain(hint)


def _plain(hint: type[Any]) -> st.SearchStrategy[Any]:
    if is_dataclass(hint):
        return st.deferred(lambda: values_of(hint))
    if issubclass(hint, IntEnum):
        return st.sampled_from(list(hint))
    if hint is bool:
        return st.booleans()
    if hint is timedelta:
        return st.timedeltas(-_LONGEST, _LONGEST)
    if hint is float:
        return st.floats(allow_nan=False, allow_infinity=False)
    if hint is bytes:
        return st.binary(max_size=12)
    return NUMBERS if hint is int else TEXT
