"""Heddle as it is measured: the default runtime on an empty folder, with the scripted model and the tool wanted.

    python bench/heddle_target.py [--tool grpc|built-in] [--bus on|off]

Serves until Ctrl-C, for a look by hand; the measurements use `running_heddle`.
"""

import argparse
import json
import sqlite3
import subprocess
import tempfile
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import processes
from processes import BENCH, PYTHON, ROOT, Child

REFERENCE = ROOT / "examples" / "scenarios" / "reference-turn.yaml"
BUILT_IN = BENCH / "scenarios" / "built-in-turn.yaml"
AGENT = "reference"
"""The agent of all turns: no instructions, one tool."""


@dataclass(frozen=True)
class Target:
    """What is measured, in the words of the report."""

    tool: str = "grpc"
    """`grpc`: `lookup`, served by another process and registered; `built-in`: `current_time`, inside the runtime."""
    bus: str = "default"
    """`on` and `off` where this version has a bus; `none` where it has not; `default`: as `heddle up` does it."""
    scenario: Path | None = None
    """None: the reference turn with that tool."""
    settings: tuple[tuple[str, str], ...] = ()
    """More environment variables."""
    tree: Path = ROOT
    """Whose `libs` and `services` serve."""

    @property
    def name(self) -> str:
        return f"heddle, tool {self.tool}, bus {self.bus}"


@dataclass(frozen=True)
class Heddle:
    """A runtime that serves."""

    target: Target
    child: Child
    tool: Child | None
    data_dir: Path
    command: str

    @property
    def address(self) -> str:
        return self.child.said["address"]


def has_bus() -> bool:
    """Whether this version's `heddle up` publishes to NATS, as its settings tell."""
    done = subprocess.run(
        [PYTHON, "-m", "heddle_cli", "up", "--print-config"],
        capture_output=True,
        check=False,
        text=True,
        env=processes.environment(),
        timeout=60,
    )
    if done.returncode:
        raise processes.Failed(f"heddle up --print-config ended with {done.returncode}: {done.stderr[-500:]}")
    return "no_nats" in json.loads(done.stdout)


@contextmanager
def running_heddle(
    target: Target, folder: Path, *, python: tuple[str, ...] = (PYTHON, "-m", "heddle_cli")
) -> Generator[Heddle]:
    """Serve `target` with its data in `folder`, ready for turns of agent `reference`.

    `python` is what carries out `up`: the command line, or a program that does more around it.
    """
    processes.use_sources()
    scenario = target.scenario or (REFERENCE if target.tool == "grpc" else BUILT_IN)
    data_dir = folder / "data"
    options = ["--print-address", "--data-dir", str(data_dir), "--listen", "127.0.0.1:0"]
    options += ["--model", f"scripted:{scenario}", *(["--no-nats"] if target.bus == "off" else [])]
    command = [*python, "up", *options]
    env = processes.environment(tree=target.tree, **dict(target.settings))
    with processes.serving(command, folder / "heddle.log", env) as child:
        if target.tool != "grpc":
            _create_agent(child.said["address"], "builtin/current_time")
            yield Heddle(target, child, None, data_dir, " ".join(command))
            return
        with processes.serving([PYTHON, str(BENCH / "lookup_tool.py")], folder / "tool.log", env) as tool:
            _register(child.said["address"], tool.said["address"])
            _create_agent(child.said["address"], "bench/lookup")
            yield Heddle(target, child, tool, data_dir, " ".join(command))


def pragmas(data_dir: Path) -> dict[str, Any]:
    """What Heddle's writing connection runs with, on these data. The server must have stopped."""
    return processes.figures([PYTHON, str(BENCH / "sqlite_settings.py"), str(data_dir / "heddle.db")], 30)


def rows(data_dir: Path) -> dict[str, int]:
    """How many events and finished runs lie in the database. The server must have stopped."""
    connection = sqlite3.connect(data_dir / "heddle.db")
    try:
        events = connection.execute("SELECT COUNT(*) FROM events").fetchone()[0]
        completed = connection.execute("SELECT COUNT(*) FROM runs WHERE end_time > 0").fetchone()[0]
        return {"events": events, "ended_runs": completed}
    finally:
        connection.close()


def _register(address: str, tool_address: str) -> None:
    import grpc

    from heddle.runtime.v1 import agent_pb2, tool_provider_service_pb2, tool_provider_service_pb2_grpc

    provider = agent_pb2.ToolProvider(provider_id="bench", grpc_target=tool_address)
    with grpc.insecure_channel(address) as channel:
        stub: Any = tool_provider_service_pb2_grpc.ToolProviderServiceStub(cast(Any, channel))  # typed for grpc.aio
        request = tool_provider_service_pb2.CreateToolProviderRequest(request_id=uuid.uuid4().hex, provider=provider)
        created = stub.CreateToolProvider(request, timeout=10).provider
        if not created.available:
            raise processes.Failed(f"the tool is not available: {created.problem}")


def _create_agent(address: str, tool: str) -> None:
    import grpc

    from heddle.runtime.v1 import agent_pb2, agent_service_pb2, agent_service_pb2_grpc

    spec = agent_pb2.AgentSpec(display_name="Reference", tools=[tool])
    with grpc.insecure_channel(address) as channel:
        stub: Any = agent_service_pb2_grpc.AgentServiceStub(cast(Any, channel))
        request = agent_service_pb2.CreateAgentRequest(request_id=uuid.uuid4().hex, agent_id=AGENT, spec=spec)
        stub.CreateAgent(request, timeout=10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tool", choices=("grpc", "built-in"), default="grpc")
    parser.add_argument("--bus", choices=("on", "off", "default"), default="default")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        target = replace(Target(), tool=arguments.tool, bus=arguments.bus)
        with running_heddle(target, Path(name)) as heddle:
            print(f"{heddle.target.name} on {heddle.address}, process {heddle.child.pid}")
            try:
                heddle.child.process.wait()
            except KeyboardInterrupt:
                return


if __name__ == "__main__":
    main()
