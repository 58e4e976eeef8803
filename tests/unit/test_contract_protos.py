"""Holds the contract to its own conventions, read from the descriptors that the services really load.

buf's lint sees single files; what spans them, and what is only our habit, is checked here.
"""

import importlib
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from google.api import field_behavior_pb2  # pyright: ignore[reportMissingTypeStubs]
from google.protobuf.descriptor import (
    Descriptor,
    EnumDescriptor,
    FieldDescriptor,
    FileDescriptor,
    MethodDescriptor,
    ServiceDescriptor,
)
from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet

from heddle.common.v1.error_reason_pb2 import ErrorReason
from heddle_core import reasons, runtime_errors

ROOT = Path(__file__).resolve().parents[2]
LIBS = ROOT / "libs"
UNSIGNED = {
    FieldDescriptor.TYPE_UINT32,
    FieldDescriptor.TYPE_UINT64,
    FieldDescriptor.TYPE_FIXED32,
    FieldDescriptor.TYPE_FIXED64,
}
UNTYPED = {f"google.protobuf.{name}" for name in ("Any", "Struct", "Value", "ListValue")} | {"google.rpc.Status"}
# Calls that change nothing begin with one of these verbs; every other call is a command.
READING = ("Get", "List", "Watch", "Wait", "Read", "Query", "Explain", "Verify", "Preview", "Sign")

# What stands outside a rule, and why. A name that no longer needs its place here fails the test.
WITHOUT_REQUEST_ID = {
    "heddle.tools.v1.ToolService.CallTool",  # the runtime calls it, with an idempotency key of its own
}
LONG: set[str] = set()
WITHOUT_ORDER_BY = {
    "heddle.runtime.v1.ThreadService.ListMessages",  # a conversation has one order: newest first
    "heddle.tools.v1.ToolService.ListTools",  # anybody implements it: as little as possible is asked of them
}
WITHOUT_PAGE_TOKEN = {
    "heddle.runtime.v1.ThreadService.ListEvents",  # the sequence is the cursor
}


def _load() -> list[FileDescriptor]:
    modules = sorted(path.relative_to(LIBS).with_suffix("") for path in (LIBS / "heddle").rglob("*_pb2.py"))
    return [importlib.import_module(".".join(module.parts)).DESCRIPTOR for module in modules]


def _messages(roots: Iterable[Descriptor]) -> Iterator[Descriptor]:
    for message in roots:
        yield message
        yield from _messages(message.nested_types)


FILES = _load()
MESSAGES: list[Descriptor] = [m for f in FILES for m in _messages(f.message_types_by_name.values())]
ENUMS: list[EnumDescriptor] = [e for f in FILES for e in f.enum_types_by_name.values()] + [
    e for m in MESSAGES for e in m.enum_types
]
FIELDS: list[FieldDescriptor] = [field for message in MESSAGES for field in message.fields]
SERVICES: list[ServiceDescriptor] = [s for f in FILES for s in f.services_by_name.values()]
METHODS: list[MethodDescriptor] = [method for service in SERVICES for method in service.methods]


def _repeated(message: Descriptor) -> list[FieldDescriptor]:
    return [field for field in message.fields if field.is_repeated]


def _kind(field: FieldDescriptor) -> str | int:
    """Full name of a field's message, or the number of its scalar type."""
    return field.message_type.full_name if field.message_type else field.type


def _kind_of(message: Descriptor, name: str) -> str | int | None:
    field = message.fields_by_name.get(name)
    return None if field is None else _kind(field)


def test_every_proto_file_has_its_generated_module_and_every_module_its_file() -> None:
    written = {path.relative_to(ROOT / "proto").as_posix() for path in (ROOT / "proto").rglob("*.proto")}
    assert {file.name for file in FILES} == written


def test_the_packages_of_the_contract_are_those_that_were_agreed() -> None:
    served = {f"heddle.{name}.v1" for name in ("common", "runtime", "tools")}
    coming = ("assets", "campaign", "content", "pipeline", "skills", "spawn", "workflow")
    assert {file.package for file in FILES} == served | {f"heddle.{name}.v1alpha1" for name in coming}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_file_says_where_its_go_and_java_go(file: FileDescriptor) -> None:
    _, name, version = file.package.split(".")
    options = file.GetOptions()
    assert options.go_package == f"github.com/heddle-dev/heddle/gen/go/heddle/{name}/{version};{name}{version}"
    assert options.java_package == f"dev.heddle.{name}.{version}"
    assert options.java_multiple_files


def test_a_file_fits_in_a_head() -> None:
    lines = {path: len(path.read_text().splitlines()) for path in (ROOT / "proto").rglob("*.proto")}
    assert {path.name for path, count in lines.items() if count > 400} == LONG


def test_outside_the_runtime_nothing_imports_its_messages() -> None:
    for file in FILES:
        own = f"heddle/{file.package.split('.')[1]}/"
        foreign = {each.name for each in file.dependencies if each.name.startswith("heddle/")}
        allowed = (own, "heddle/common/", "heddle/tools/") if own == "heddle/runtime/" else (own, "heddle/common/")
        assert all(name.startswith(allowed) for name in foreign), file.name


@pytest.mark.parametrize("enum", ENUMS, ids=lambda enum: enum.full_name)
def test_the_zero_of_an_enum_means_not_said(enum: EnumDescriptor) -> None:
    zero = enum.values_by_number[0]
    assert zero.name.endswith("_UNSPECIFIED")
    prefix = zero.name.removesuffix("UNSPECIFIED")
    assert all(value.name.startswith(prefix) for value in enum.values)


def test_no_number_is_unsigned() -> None:
    assert [field.full_name for field in FIELDS if field.type in UNSIGNED] == []


def test_no_field_holds_what_only_its_sender_understands() -> None:
    held = {field.full_name: field.message_type.full_name for field in FIELDS if field.message_type}
    assert {name: kind for name, kind in held.items() if kind in UNTYPED} == {}


def test_json_travels_as_text_and_says_so_in_its_name() -> None:
    named = [field for field in FIELDS if field.name.endswith("_json")]
    assert [field.full_name for field in named if field.type != FieldDescriptor.TYPE_STRING] == []


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name)
def test_a_call_owns_its_request_and_its_response(method: MethodDescriptor) -> None:
    package = method.containing_service.file.package
    assert method.input_type.full_name == f"{package}.{method.name}Request"
    assert method.output_type.full_name == f"{package}.{method.name}Response"


def test_no_two_calls_share_a_message() -> None:
    used = [message.full_name for method in METHODS for message in (method.input_type, method.output_type)]
    assert len(used) == len(set(used))


def test_a_message_named_request_or_response_belongs_to_a_call() -> None:
    used = {message.full_name for method in METHODS for message in (method.input_type, method.output_type)}
    named = {each.full_name for each in MESSAGES if each.name.endswith(("Request", "Response"))}
    # InputRequest is a resource: what a run asks of a person.
    assert named - used == {"heddle.runtime.v1.InputRequest"}


def test_every_watch_streams() -> None:
    watching = [method for method in METHODS if method.name.startswith("Watch")]
    assert watching
    assert [method.full_name for method in watching if not method.server_streaming] == []


def test_every_list_can_be_paged_and_ordered() -> None:
    listing = [method for method in METHODS if method.name.startswith("List")]
    assert listing
    for method in listing:
        assert _kind_of(method.input_type, "page_size") == FieldDescriptor.TYPE_INT32, method.full_name
        assert _repeated(method.output_type), method.full_name
    for name, exempt in (
        ("page_token", WITHOUT_PAGE_TOKEN),
        ("order_by", WITHOUT_ORDER_BY | WITHOUT_PAGE_TOKEN),
    ):
        text = FieldDescriptor.TYPE_STRING
        lacking = {method.full_name for method in listing if _kind_of(method.input_type, name) != text}
        assert lacking == exempt, name
    for method in listing:
        if method.full_name not in WITHOUT_PAGE_TOKEN:
            token = _kind_of(method.output_type, "next_page_token")
            assert token == FieldDescriptor.TYPE_STRING, method.full_name


def test_every_update_names_its_fields_and_can_be_guarded_and_tried() -> None:
    updating = [method for method in METHODS if method.name.startswith("Update")]
    assert updating
    for method in updating:
        request = method.input_type
        assert _kind_of(request, "update_mask") == "google.protobuf.FieldMask", method.full_name
        assert _kind_of(request, "etag") == FieldDescriptor.TYPE_STRING, method.full_name
        assert _kind_of(request, "validate_only") == FieldDescriptor.TYPE_BOOL, method.full_name
        resource = method.name.removeprefix("Update")
        returned = [field.message_type.name for field in method.output_type.fields if field.message_type]
        assert any(resource in name for name in returned), method.full_name


def test_every_command_carries_a_required_request_id() -> None:
    commands = [method for method in METHODS if not method.name.startswith(READING)]
    lacking = {method.full_name for method in commands if "request_id" not in method.input_type.fields_by_name}
    assert lacking == WITHOUT_REQUEST_ID
    for method in commands:
        if method.full_name not in WITHOUT_REQUEST_ID:
            field = method.input_type.fields_by_name["request_id"]
            assert field.type == FieldDescriptor.TYPE_STRING, field.full_name
            assert _behaviours(field) == {field_behavior_pb2.REQUIRED}, field.full_name


def test_no_reading_call_carries_a_request_id() -> None:
    reading = [method for method in METHODS if method.name.startswith(READING)]
    assert [each.full_name for each in reading if "request_id" in each.input_type.fields_by_name] == []


def test_every_wait_is_counted_in_whole_seconds() -> None:
    waits = [field for field in FIELDS if field.name.startswith("wait")]
    assert waits
    assert {(field.name, field.type) for field in waits} == {("wait_seconds", FieldDescriptor.TYPE_INT32)}


def test_a_moment_is_named_a_time_or_a_bound() -> None:
    named = ("_time", "_after", "_before", "deadline", "not_before", "once")
    moments = [field for field in FIELDS if _kind(field) == "google.protobuf.Timestamp"]
    assert moments
    assert [field.full_name for field in moments if not field.name.endswith(named)] == []


def test_what_is_paid_is_money() -> None:
    paid = [field for field in FIELDS if field.name.split("_")[-1] in {"cost", "price"}]
    assert paid
    assert [field.full_name for field in paid if _kind(field) != "google.type.Money"] == []


def test_every_error_has_its_reason_in_the_contract_and_every_reason_its_error() -> None:
    assert runtime_errors.RunNotFound.reason == "RUN_NOT_FOUND"
    named = {name.removeprefix("ERROR_REASON_") for name in ErrorReason.DESCRIPTOR.values_by_name} - {"UNSPECIFIED"}
    assert named == set(reasons.all_reasons())


def test_the_first_word_of_a_comment_says_what_the_field_behaviour_says(tmp_path: Path) -> None:
    image = tmp_path / "image.binpb"
    buf = Path(sys.executable).parent / "buf"
    subprocess.run([buf, "build", "proto", "--exclude-imports", "--output", image], cwd=ROOT, check=True, timeout=60)
    files = FileDescriptorSet.FromString(image.read_bytes()).file
    marked = {name: words for file in files for name, words in _comments(file)}
    assert set(marked) == {field.full_name for field in FIELDS if not _is_map_entry(field)}
    for field in FIELDS:
        if _is_map_entry(field):
            continue
        comment = marked[field.full_name]
        behaviours = _behaviours(field)
        assert comment.startswith("Required.") == (field_behavior_pb2.REQUIRED in behaviours), field.full_name
        output = comment.startswith("Output only.")
        assert output == (field_behavior_pb2.OUTPUT_ONLY in behaviours), field.full_name


def _behaviours(field: FieldDescriptor) -> set[int]:
    extension: Any = field_behavior_pb2.field_behavior
    return set(field.GetOptions().Extensions[extension])


def _is_map_entry(field: FieldDescriptor) -> bool:
    return field.containing_type is not None and bool(field.containing_type.GetOptions().map_entry)


def _comments(file: FileDescriptorProto) -> Iterator[tuple[str, str]]:
    """Full name and leading comment of every field of a file; the numbers are descriptor.proto's own."""
    leading = {tuple(each.path): each.leading_comments.strip() for each in file.source_code_info.location}

    def walk(message: DescriptorProto, scope: str, path: tuple[int, ...]) -> Iterator[tuple[str, str]]:
        name = f"{scope}.{message.name}"
        if not message.options.map_entry:
            for index, field in enumerate(message.field):
                yield f"{name}.{field.name}", leading.get((*path, 2, index), "")
        for index, nested in enumerate(message.nested_type):
            yield from walk(nested, name, (*path, 3, index))

    for index, message in enumerate(file.message_type):
        yield from walk(message, file.package, (4, index))
