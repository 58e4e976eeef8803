"""How cells break what the log stands on: PostgreSQL restarted or cut off, disks that are full or fail."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.faults.checker import rows
from tests.faults.checker.rows import Tables
from tests.faults.processes import environment
from tests.faults.world import World

_RECOVERS_WITHIN = 20.0
_ATTACHES_WITHIN = 20.0
_SPARE_BYTES = 16 * 1024
_ON_THE_WAY = 0.1
"""Seconds in which what was on its way through the proxy has arrived, or is cut."""


async def restart_postgres(world: World, _: str, times: int) -> None:
    """Restart the server under load: cut off in order, or as in a crash, in turns."""
    server: Any = world.extras["postgres"]
    await world.start()
    for turn in range(times):
        await asyncio.sleep(world.random.uniform(0.3, 1.2))
        world.supervisor.write("outage", what="postgres")
        await asyncio.to_thread(server.stop, (signal.SIGINT, signal.SIGQUIT)[turn % 2])
        world.kills += 1
        await _while_nothing_commits(world, "postgres", world.random.uniform(0.2, 1.0))
        await asyncio.to_thread(server.start)
        await _recover(world, "postgres")


async def cut_commit_answers(world: World, _: str, times: int) -> None:
    """Let PostgreSQL commit, and keep its answer: the runtime does not know, and may neither lose nor double it."""
    proxy: Any = world.extras["proxy"]
    await world.start()
    for _ in range(times):
        await asyncio.sleep(world.random.uniform(0.05, 0.4))
        cut = proxy.cut_answer_to(b"COMMIT", world.random.choice((1, 1, 2)))
        async with asyncio.timeout(30):
            await cut.wait()
        world.kills += 1


async def cut_postgres_off(world: World, _: str, times: int) -> None:
    """Reset every connection, refuse new ones for a while, or swallow all answers."""
    proxy: Any = world.extras["proxy"]
    await world.start()
    for turn in range(times):
        await asyncio.sleep(world.random.uniform(0.2, 0.8))
        world.supervisor.write("outage", what="network")
        proxy.refusing = turn % 2 == 0
        proxy.silent = turn % 3 == 0
        if not proxy.silent:
            proxy.cut_all()
        if proxy.refusing or proxy.silent:
            await asyncio.sleep(_ON_THE_WAY)
            if not proxy.silent:
                proxy.cut_all()  # whoever was about to be let through
            await _while_nothing_commits(world, "network", world.random.uniform(0.2, 1.5))
        else:
            await asyncio.sleep(world.random.uniform(0.1, 1.5))
        proxy.refusing = proxy.silent = False
        proxy.cut_all()
        world.kills += 1
        await _recover(world, "network")


async def restore_old_backup(world: World, _: str, times: int) -> None:
    """Lose the database, and put a backup in its place that is older: what it lacks never was, and consumers know."""
    for turn in range(times):
        await world.bustle(world.random.uniform(1.0, 2.0))
        thread_id = world.crowd.new_thread()
        await world.crowd.say_much(1, 10, thread_id)
        backup = world.folder / f"backup-{turn}"
        option, place = world.store.place
        await _heddle(world, "backup", option, place, "--to", str(backup))
        await world.crowd.say_much(1, 10, thread_id)
        ahead = await world.crowd.end_of(thread_id)
        await world.bustle(world.random.uniform(1.0, 2.0))
        for node in world.nodes:
            node.kill()
        effects = (world.folder / "ledger.jsonl").read_text()
        await world.extras["fresh_store"](world)
        await _heddle(world, "restore", str(backup), option, place)
        world.supervisor.write("restored")
        keep_effects(world.folder / "ledger.jsonl", effects, await world.store.read())
        world.kills += 1
        await world.start()
        await world.crowd.read_ahead(thread_id, ahead)
    await world.bustle(1.0)


async def fill_disk(world: World, _: str, times: int) -> None:
    """Fill the disk under the database to the last blocks, and make room again after a while."""
    disk: Path = world.extras["disk"]
    await world.start()
    for _ in range(times):
        await asyncio.sleep(world.random.uniform(0.5, 1.0))
        filler = disk / "filler"
        world.supervisor.write("outage", what="disk")
        await asyncio.to_thread(_fill, filler, lambda: _free(disk) - _SPARE_BYTES)
        await asyncio.sleep(world.random.uniform(1.0, 2.5))
        filler.unlink()
        world.kills += 1
        await _recover(world, "disk")


async def kill_at_sync(world: World, _: str, times: int) -> None:
    """Kill the runtime as it begins its n-th sync of the disk."""
    node = world.nodes[0]
    for _ in range(times):
        if node.alive:
            node.kill()
        await node.start()
        nth = world.random.choice((1, 2, 5, 9, 17, 30))
        tracer = await _inject(node.pid, f"fdatasync,fsync:signal=SIGKILL:when={nth}")
        if not await node.ended(f"killed at sync {nth}", 20):
            world.missed += 1
            node.kill()
        world.kills += 1
        await asyncio.to_thread(tracer.wait)


async def fail_syncs(world: World, _: str, times: int) -> None:
    """Have some syncs of the disk fail with EIO, or all of them for a while: what they should have saved was not said.

    In turns, so that both a store that goes on after an error and one that cannot go on are seen.
    """
    node = world.nodes[0]
    await world.start()
    for turn in range(times):
        world.supervisor.write("outage", what="sync")
        if turn % 2 == 0:
            first = world.random.choice((1, 2, 4))
            some = f":when={first}..{first + world.random.choice((0, 1, 3))}"
            tracer = await _inject(node.pid, f"fdatasync,fsync:error=EIO{some}")
            await asyncio.sleep(world.random.uniform(0.5, 1.5))
        else:
            tracer = await _inject(node.pid, "fdatasync,fsync:error=EIO")
            await _while_nothing_commits(world, "sync", world.random.uniform(1.5, 3.0), tracer)
        tracer.send_signal(signal.SIGINT)
        await asyncio.to_thread(tracer.wait)
        world.kills += 1
        await _recover(world, "sync")


def keep_effects(ledger: Path, effects: str, tables: Tables) -> None:
    """Have the ledger hold those effects whose intents a restored log has: it knows nothing of the others any more."""
    started = (event for event in tables.events if event.kind == rows.TOOL_CALL_STARTED)
    intents = {(event.tenant, event.run_id, event.text(1), event.text(3), event.integer(6)) for event in started}
    with ledger.open("a") as file:
        for line in effects.splitlines():
            told = json.loads(line)
            if tuple(told[name] for name in ("tenant", "run_id", "call_id", "key", "fence")) in intents:
                file.write(line + "\n")


async def _heddle(world: World, *arguments: str) -> None:
    """Carry out a command of the command line."""
    command = [sys.executable, "-m", "heddle_cli", *arguments, "--json"]
    source = world.extras["source"]
    done = await asyncio.to_thread(
        subprocess.run, command, env=environment(source), cwd=source, capture_output=True, text=True
    )
    assert done.returncode == 0, f"heddle {' '.join(arguments)}: {done.stdout[-1000:]} {done.stderr[-2000:]}"


async def _recover(world: World, what: str) -> None:
    """Note when a turn is accepted again, with nobody having restarted anything."""
    began = time.monotonic()
    recovered = False
    while not recovered and time.monotonic() - began < _RECOVERS_WITHIN:
        recovered = bool(await world.crowd.start_one_by_one(1))
    world.supervisor.write(
        "outage_over",
        what=what,
        must_recover=True,
        recovered=recovered,
        within=_RECOVERS_WITHIN,
        seconds=time.monotonic() - began,
    )


async def _while_nothing_commits(
    world: World, what: str, seconds: float, tracer: "subprocess.Popen[bytes] | None" = None
) -> None:
    """Wait, and note from when until when no commit can have been told; not where the tracer went before its time."""
    world.supervisor.write("store_gone", what=what)
    await asyncio.sleep(seconds)
    if tracer is None or tracer.poll() is None:
        world.supervisor.write("store_returns", what=what)


async def _inject(process: int, what: str) -> "subprocess.Popen[bytes]":
    """Attach a tracer that tampers with a process's system calls; returns once it has."""
    called = what.partition(":")[0]
    command = ["strace", "-f", "-qq", "-e", f"trace={called}", "-e", f"inject={what}", "-o", "/dev/null"]
    return await asyncio.to_thread(_attach, [*command, "-p", str(process)], Path(f"/proc/{process}/task"))


def _attach(command: list[str], threads: Path) -> "subprocess.Popen[bytes]":
    tracer = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    until = time.monotonic() + _ATTACHES_WITHIN
    while tracer.poll() is None and not all(map(_is_traced, threads.glob("*/status"))):
        assert time.monotonic() < until, "strace does not attach"
        time.sleep(0.01)
    return tracer


def _is_traced(status: Path) -> bool:
    with suppress(OSError):  # a thread that has ended meanwhile
        return "TracerPid:\t0\n" not in status.read_text()
    return True


def _fill(filler: Path, bytes_left: Callable[[], int]) -> None:
    with filler.open("wb") as file:
        while (left := bytes_left()) > 0:
            file.write(bytes(min(left, 1 << 20)))
            file.flush()


def _free(disk: Path) -> int:
    found = os.statvfs(disk)
    return found.f_bavail * found.f_frsize
