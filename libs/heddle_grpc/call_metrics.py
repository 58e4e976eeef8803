"""Counts the calls of one server, and their time."""

from collections.abc import Callable, Iterable

from heddle_grpc.measures import Count, Distribution, Level, Measure, Spread

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900)


class CallMetrics:
    """What a server has done since it was made."""

    def __init__(self) -> None:
        self._ended: dict[tuple[str, str], int] = {}
        self._seconds: dict[tuple[str], Distribution] = {}
        self._under_way: Callable[[], int] = int

    def count_under_way(self, reading: Callable[[], int]) -> None:
        """Read the number of open calls from `reading` when it is asked for."""
        self._under_way = reading

    def record(self, method: str, code: str, seconds: float) -> None:
        """A call has ended."""
        key = (method, code)
        self._ended[key] = self._ended.get(key, 0) + 1
        times = self._seconds.get((method,))
        if times is None:
            times = self._seconds[method,] = Distribution(_SECONDS)
        times.add(seconds)

    def measures(self) -> Iterable[Measure]:
        """All of it, as it is now."""
        yield Count("heddle_grpc_calls", "Calls that have ended.", self._ended, ("method", "code"))
        yield Spread(
            "heddle_grpc_call_seconds", "Time of a call, a stream's whole life included.", self._seconds, ("method",)
        )
        yield Level("heddle_grpc_calls_under_way", "Calls that have not ended.", {(): self._under_way()})
