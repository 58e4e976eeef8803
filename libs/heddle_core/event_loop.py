"""The event loop of a process that serves, and how it shares the interpreter with its threads."""

import asyncio
import sys
from collections.abc import Coroutine
from typing import TypeVar

T = TypeVar("T")

SWITCH_INTERVAL = 0.001
"""Seconds that a thread runs until another that waits for the interpreter's lock gets it; Python's default is 0.005.

The loop's thread does nearly all the work, and every switch costs it: at 0.0001 a fifth of its time went there
(bench/PROFILE.md). Threads that read the database or wait for the disk have to get in between all the same.
"""


def run_serving(main: Coroutine[object, object, T]) -> T:
    """Run to the end of `main`, as `asyncio.run` does: on uvloop wherever that exists, which is all but Windows."""
    sys.setswitchinterval(SWITCH_INTERVAL)
    with asyncio.Runner(loop_factory=_new_loop) as runner:
        return runner.run(main)


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
