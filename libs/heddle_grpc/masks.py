"""Update masks and the lengths of texts, as several services check them."""

from collections.abc import Sequence

from google.protobuf.field_mask_pb2 import FieldMask

from heddle_core.errors import invalid


def fields_named(mask: FieldMask, known: Sequence[str], *, prefix: str = "") -> tuple[str, ...]:
    """The fields that an update mask names, in their own order; `prefix.` before a name is accepted.

    Raises:
        InvalidField: it names none, or one that cannot be changed.
    """
    named = {path.removeprefix(f"{prefix}.") if prefix else path for path in mask.paths}
    if not named:
        raise invalid("update_mask", f"name what to change: {', '.join(known)}, or `*` for all")
    if "*" in named:
        return tuple(known)
    foreign = sorted(named - set(known))
    if foreign:
        raise invalid("update_mask", f"{foreign[0][:64]!r} cannot be changed; these can: {', '.join(known)}")
    return tuple(name for name in known if name in named)


def text_within(path: str, text: str, most: int) -> None:
    """Raises InvalidField when `text` has more than `most` characters."""
    if len(text) > most:
        raise invalid(path, f"at most {most} characters; these are {len(text)}")
