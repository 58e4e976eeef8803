"""The ceiling's messages, made from turn.proto when they are needed: nothing generated lies in the repository."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

HERE = Path(__file__).parent


def generate(folder: Path) -> None:
    """Compile turn.proto into `folder`."""
    from grpc_tools import protoc

    failed = protoc.main(
        ["protoc", f"--proto_path={HERE}", f"--python_out={folder}", f"--grpc_python_out={folder}", "turn.proto"]
    )
    if failed:
        raise RuntimeError("turn.proto does not compile")


def load(folder: Path) -> tuple[ModuleType, ModuleType]:
    """The generated modules in `folder`: messages, and services."""
    sys.path.insert(0, str(folder))
    return importlib.import_module("turn_pb2"), importlib.import_module("turn_pb2_grpc")
