"""Generates libs/heddle from proto/, or with --check says whether what stands there would come out again.

    python .ci/generate.py            write what changed, remove generated files whose proto is gone
    python .ci/generate.py --check    exit 1 and name every file that drifted; writes nothing

The plugins stand in buf.gen.yaml, and come from the environment of the Python that runs this. No network.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "libs" / "heddle"
GENERATED = ("*_pb2.py", "*_pb2.pyi", "*_pb2_grpc.py", "*_pb2_grpc.pyi", "__init__.py")


def main(arguments: list[str]) -> int:
    """Write or check; returns the exit code."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write(__doc__ or "")
        return 2
    wanted = generate()
    kept = [path for pattern in GENERATED for path in PACKAGE.rglob(pattern)]
    found = {path.relative_to(PACKAGE): path.read_bytes() for path in kept}
    drifted = sorted(path for path in wanted.keys() | found.keys() if wanted.get(path) != found.get(path))
    if arguments:
        for path in drifted:
            sys.stderr.write(f"{_difference(path, wanted, found)}: libs/heddle/{path}\n")
        if drifted:
            sys.stderr.write("libs/heddle is not what proto/ gives: run `python .ci/generate.py`.\n")
        return 1 if drifted else 0
    for path in drifted:
        _settle(path, wanted.get(path))
    sys.stdout.write(f"libs/heddle: {len(wanted)} files, {len(drifted)} changed\n")
    return 0


def generate() -> dict[Path, bytes]:
    """Every file that libs/heddle should hold, by its path there."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        done = subprocess.run(["buf", "generate", "--output", folder], cwd=ROOT, env=environment, check=False)
        if done.returncode != 0:
            raise SystemExit(done.returncode)
        root = Path(folder, "heddle")
        made = {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    # mypy-protobuf writes stubs for files without a service too; there is no module behind those.
    made = {path: code for path, code in made.items() if path.suffix == ".py" or path.with_suffix(".py") in made}
    packages = {parent / "__init__.py" for path in made for parent in path.parents}
    return made | dict.fromkeys(packages, b"")


def _difference(path: Path, wanted: dict[Path, bytes], found: dict[Path, bytes]) -> str:
    if path not in found:
        return "missing"
    return "changed" if path in wanted else "no proto"


def _settle(path: Path, content: bytes | None) -> None:
    target = PACKAGE / path
    if content is None:
        target.unlink()
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    # Replaced in one step: a process that imports at this moment reads the old file or the new one.
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    draft.write_bytes(content)
    draft.replace(target)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
