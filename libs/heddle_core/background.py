"""Work that goes on beside a block: what a service does by itself while it serves.

Such work must not end unheard: a task that nobody waits for dies without a word, and what it looked after is then
done by nobody until the next start.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from heddle_core.faults import HeddleError
from heddle_core.log_lines import LogLines

Work = Callable[[], Coroutine[Any, Any, None]]
"""Does it until it is cancelled."""

_PAUSE = timedelta(seconds=1)
_PATIENCE = timedelta(seconds=5)

_log = LogLines(__name__)


@asynccontextmanager
async def in_background(
    work: Mapping[str, Work], pause: timedelta = _PAUSE, patience: timedelta = _PATIENCE
) -> AsyncGenerator[None]:
    """Have each of `work` done until the block is left; then cancel it, and wait until all have ended.

    What ends or fails begins again after `pause`, and the log says so; one that fails does not end the others. The
    names are what the log calls them, as in "hearing rings begins again". What has not ended `patience` after it was
    cancelled is cancelled again: `asyncio.wait_for` of Python 3.11 may swallow a cancellation.
    """
    tasks = [asyncio.create_task(_kept_up(what, each, pause), name=what) for what, each in work.items()]
    try:
        yield
    finally:
        left = set(tasks)
        while left:
            for task in left:
                task.cancel()
            _, left = await asyncio.wait(left, timeout=patience.total_seconds())


async def _kept_up(what: str, work: Work, pause: timedelta) -> None:
    while not _is_told_to_end():
        try:
            await work()
            if not _is_told_to_end():
                _log.info(f"{what} has ended, and begins again")
        except HeddleError as error:
            _log.info(f"{what} begins again", reason=error.reason, problem=str(error))
        except Exception:
            # What work cleans up on its way out may fail in place of the cancellation: no reason to stay.
            _log.exception(f"{what} ended with an unexpected fault")
        if not _is_told_to_end():
            await asyncio.sleep(pause.total_seconds())


def _is_told_to_end() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
