"""Watches system calls while turns are acknowledged: the order of writes, syncs and answers, as the kernel saw it."""

import asyncio
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.faults.world import World

_CALLS = "pwrite64,pwritev,write,fdatasync,fsync,sendmsg,sendto,writev"
_ATTACHES_WITHIN = 20.0


async def trace_acknowledgements(world: World, _: str, times: int) -> None:
    """Accept so many turns, one after the other, with everything traced."""
    await world.start()
    node = world.nodes[0]
    trace = world.folder / "trace.txt"
    postgres = world.extras.get("postgres")
    processes = [node.pid, *(_family(postgres.port) if postgres else ())]
    tracer = await asyncio.to_thread(_attach, processes, trace)
    try:
        runs = await world.crowd.start_one_by_one(times)
    finally:
        tracer.send_signal(signal.SIGINT)
        await asyncio.to_thread(tracer.wait)
    log = "pg_wal" if postgres else "-wal"
    port = int(node.address.rpartition(":")[2])
    world.supervisor.write("traced", file=str(trace), port=port, log=log, runs=runs)


def _family(port: int) -> list[int]:
    """The PostgreSQL that listens there and its children; those that it forks later are followed anyway."""
    parents: dict[int, int] = {}
    server = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue  # it has ended meanwhile
        if words[0].endswith(b"/postgres") and str(port).encode() in words:
            server = int(folder.name)
    assert server, f"no PostgreSQL with port {port} was found"
    return [server, *(child for child, parent in parents.items() if parent == server)]


def _attach(processes: Sequence[int], trace: Path) -> subprocess.Popen[bytes]:
    """Attach to processes and all their threads; returns once that is so."""
    named = [word for process in processes for word in ("-p", str(process))]
    command = ["strace", "-f", "-yy", "-s", "262144", "-e", f"trace={_CALLS}", "-o", str(trace), *named]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE)
    assert tracer.stderr is not None
    line = tracer.stderr.readline()  # it says so when it has attached to the first process's threads
    assert b"attached" in line, f"strace: {line!r}"
    return tracer
