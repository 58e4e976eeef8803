"""Sends cases to a server, many at once, and keeps what was wrong with its answers."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

import grpc

from tests.kit.bad_input_cases import Cases
from tests.kit.bad_input_checks import faults_of
from tests.kit.bad_input_contract import Rpc
from tests.kit.bad_input_world import Metadata, World
from tests.kit.property_calls import reason_of

AT_ONCE = 24
"""Batches under way."""

CHUNK = 250
"""Cases after which a world is made anew, because the cases before have deleted and cancelled in it."""

_ANSWERS_WITHIN = 20.0
"""Seconds: none of the cases asks the server to wait."""

_MOST_FAULTS = 5
"""Kept of each RPC."""


@dataclass
class Tally:
    """What came of the cases of one RPC."""

    rpc: Rpc
    answers: Counter[str] = field(default_factory=Counter[str])
    faults: list[str] = field(default_factory=list[str])
    seconds: float = 0.0
    """Of all its calls together."""
    slowest: float = 0.0

    def __str__(self) -> str:
        answers = ", ".join(f"{times} {what}" for what, times in self.answers.most_common())
        each = 1_000 * self.seconds / max(1, sum(self.answers.values()))
        return f"{self.rpc.name:22} {each:5.1f} ms each, at most {1_000 * self.slowest:5.0f} ms: {answers}"

    def blame(self, raw: bytes, what: str) -> None:
        if len(self.faults) < _MOST_FAULTS:
            self.faults.append(f"{self.rpc.name}({_told(self.rpc, raw)}): {what}")


@dataclass(frozen=True)
class Sender:
    """One principal of one tenant."""

    channel: grpc.aio.Channel
    metadata: Metadata

    def acting_as(self, whom: str) -> "Sender":
        """The same, speaking for a `tenant/principal`."""
        return replace(self, metadata=(*self.metadata, ("heddle-act-as", whom)))

    async def send(self, rpc: Rpc, raw: bytes) -> grpc.aio.AioRpcError | None:
        """Send a request as it is; the refusal, or None. Of a stream, the first frame is waited for."""
        try:
            if rpc.streams:
                channel: Any = self.channel
                call = channel.unary_stream(rpc.path)(raw, metadata=self.metadata, timeout=_ANSWERS_WITHIN)
                try:
                    await call.read()
                    if call.done():
                        await call.read()
                finally:
                    call.cancel()
            else:
                await self.channel.unary_unary(rpc.path)(raw, metadata=self.metadata, timeout=_ANSWERS_WITHIN)
        except grpc.aio.AioRpcError as error:
            return error
        return None


MakeWorld = Callable[[Sender, str], Awaitable[World]]
"""Prepares a tenant: that of the sender; ids that it chooses begin with the name."""


async def send_all(
    rpcs: list[Rpc], cases: int, seed: int, own: Sender, foreign: World, make: MakeWorld, *, at_once: int = AT_ONCE
) -> list[Tally]:
    """Send `cases` requests to each RPC, each chunk in a tenant of its own, and look at every answer."""
    tallies = [Tally(rpc) for rpc in rpcs]
    waiting: asyncio.Queue[tuple[Tally, int, int]] = asyncio.Queue()
    for begin in range(0, cases, CHUNK):
        for tally in tallies:
            waiting.put_nowait((tally, begin, min(begin + CHUNK, cases)))

    async def work() -> None:
        while not waiting.empty():
            tally, begin, end = waiting.get_nowait()
            random = Random(f"{seed} {tally.rpc.path} {begin}")
            sender = own.acting_as(f"tenant{tallies.index(tally)}-{begin}/ann")
            made = Cases(tally.rpc, random, await make(sender, f"w{begin}"), foreign)
            for number in range(begin, end):
                await _send(sender, tally, made.case(number))

    async with asyncio.TaskGroup() as group:
        for _ in range(at_once):
            group.create_task(work())
    return tallies


async def _send(own: Sender, tally: Tally, raw: bytes) -> None:
    began = time.monotonic()
    error = await own.send(tally.rpc, raw)
    took = time.monotonic() - began
    tally.seconds += took
    tally.slowest = max(tally.slowest, took)
    if error is None:
        tally.answers["OK"] += 1
        return
    tally.answers[reason_of(error) or error.code().name] += 1
    for what in faults_of(error):
        tally.blame(raw, what)


def _told(rpc: Rpc, raw: bytes) -> str:
    """A request for people: as text where it is a message, and as hex where it is short enough."""
    shown = raw.hex() if len(raw) <= 400 else f"{raw[:200].hex()}... {len(raw)} bytes"
    try:
        return f"{' '.join(str(rpc.request.FromString(raw)).split())[:600]} | {shown}"
    except Exception:  # whatever the parser says, hex is what is left
        return shown
