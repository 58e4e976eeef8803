"""YAML with the place of every value, so that what is wrong in a file is told with its line."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import yaml

from heddle_core.values import value

Path = tuple[str | int, ...]
"""Where a value stands: names of fields and places in lists."""

_STEP = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
_TIMESTAMP = "tag:yaml.org,2002:timestamp"
_INTEGER = "tag:yaml.org,2002:int"
_NOTHING = "tag:yaml.org,2002:null"


@value
class Fault:
    """One thing that is wrong in a file."""

    file: str
    line: int
    """From 1."""
    field: str
    """As `schedule.cron`. Empty: the document as a whole."""
    remedy: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: " + (f"{self.field}: " if self.field else "") + self.remedy


class FaultyFiles(Exception):
    """Files that cannot be applied, with all that is wrong in them."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = tuple(faults)


@dataclass(frozen=True)
class Document:
    """One document of a file."""

    file: str
    content: object
    """Mappings, lists and scalars. Times and days stay text: what they mean is for their fields to say."""
    lines: dict[Path, int]

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of a mapping; none where it is something else."""
        content = cast("dict[str, Any] | None", self.content)
        return content if isinstance(content, dict) else {}

    def fault(self, path: Path, remedy: str) -> Fault:
        """What is wrong at a path; told with the line of the nearest thing that is there."""
        there = path
        while there and there not in self.lines:
            there = there[:-1]
        return Fault(self.file, self.lines.get(there, 1), written(path), remedy)


def documents(text: str, file: str) -> list[Document]:
    """The documents of a file, empty ones left out. Raises FaultyFiles where it is no YAML."""
    try:
        nodes = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
        return [_document(node, file) for node in nodes if node.tag != _NOTHING]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem = error.problem or error.context or "cannot be understood"
        raise FaultyFiles([Fault(file, mark.line + 1 if mark else 1, "", f"is not YAML: {problem}")]) from error
    except yaml.YAMLError as error:
        raise FaultyFiles([Fault(file, 1, "", f"is not YAML: {error}")]) from error


def written(path: Path) -> str:
    """A path as the contract's errors write it: `agents[0].objective`."""
    told = ""
    for step in path:
        told += f"[{step}]" if isinstance(step, int) else f".{step}" if told else step
    return told


def path_of(field: str) -> Path:
    """The path that a text as `agents[0].objective` names."""
    return tuple(int(place) if place else name for name, place in _STEP.findall(field))


def _document(node: yaml.Node, file: str) -> Document:
    lines: dict[Path, int] = {}
    faults: list[Fault] = []
    content = _Reading(file, lines, faults).value(node, (), ())
    if faults:
        raise FaultyFiles(faults)
    return Document(file, content, lines)


@dataclass(frozen=True)
class _Reading:
    file: str
    lines: dict[Path, int]
    faults: list[Fault]

    def value(self, node: yaml.Node, path: Path, above: tuple[yaml.Node, ...]) -> Any:
        self.lines.setdefault(path, node.start_mark.line + 1)
        if any(node is each for each in above):
            self._refuse(node, path, "refers to itself")
            return None
        match node:
            case yaml.MappingNode():
                return dict(self._fields(node, path, (*above, node)))
            case yaml.SequenceNode():
                return [self.value(each, (*path, place), (*above, node)) for place, each in enumerate(node.value)]
            case _:
                return _scalar(node)

    def _fields(self, node: yaml.MappingNode, path: Path, above: tuple[yaml.Node, ...]) -> Iterator[tuple[str, Any]]:
        seen: set[str] = set()
        for name_node, value_node in node.value:
            name = name_node.value if isinstance(name_node, yaml.ScalarNode) else ""
            if not name or name in seen:
                self._refuse(name_node, (*path, name), "stands here twice" if name else "must be a name")
                continue
            seen.add(name)
            self.lines[(*path, name)] = name_node.start_mark.line + 1
            yield name, self.value(value_node, (*path, name), above)

    def _refuse(self, node: yaml.Node, path: Path, remedy: str) -> None:
        self.faults.append(Fault(self.file, node.start_mark.line + 1, written(path), remedy))


def _scalar(node: yaml.Node) -> Any:
    # YAML 1.1 takes 9:30 for a number of base 60.
    if node.tag == _TIMESTAMP or (node.tag == _INTEGER and ":" in node.value):
        return node.value
    return yaml.SafeLoader("").construct_object(node)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
