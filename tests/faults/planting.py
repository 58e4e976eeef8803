"""Planted faults: each patch breaks one promise in a copy of the sources, and the checker must see it.

A patch is as small as it can be, so that it still applies when the code around it changes; a test of its own says
when one does not.
"""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PATCHES = Path(__file__).parent / "mutants"


@dataclass(frozen=True)
class Mutant:
    """A fault, and where it shows."""

    name: str
    promises: tuple[str, ...]
    """One of which must be seen to be broken."""
    cell: str
    times: int = 6
    needs: tuple[str, ...] = ()
    quick: bool = False
    """Whether the quick form plants it, too."""

    @property
    def patch(self) -> Path:
        """The file that plants it."""
        return PATCHES / f"{self.name}.patch"

    def plant(self, sources: Path) -> Path:
        """Change sources, a copy; returns them. Raises ValueError where the patch does not fit."""
        problem = self._apply(sources)
        if problem:
            raise ValueError(f"{self.patch.name} does not fit: {problem}")
        return sources

    def problem(self, sources: Path) -> str:
        """Why the patch does not fit sources, which stay as they are; empty: it does."""
        return self._apply(sources, "--check")

    def _apply(self, sources: Path, *options: str) -> str:
        alone = {**os.environ, "GIT_CEILING_DIRECTORIES": str(sources.parent.resolve())}
        command = ["git", "apply", "--unidiff-zero", "--whitespace=nowarn", *options, str(self.patch.resolve())]
        done = subprocess.run(command, cwd=sources, env=alone, capture_output=True, text=True)
        return done.stderr.strip() if done.returncode else ""


def mutants() -> Iterator[Mutant]:
    """All of them, by promise."""
    yield Mutant("ack_before_commit", ("P1",), "sqlite/synced", times=5, needs=("strace",))
    yield Mutant("synchronous_off", ("P1",), "sqlite/synced", times=3, needs=("strace",), quick=True)
    yield Mutant("postgres_commits_unsynced", ("P1",), "postgres/synced", times=5, needs=("strace", "postgres"))
    yield Mutant("sequence_skips", ("P2",), "sqlite/calm", times=3)
    yield Mutant("chain_broken", ("P3",), "sqlite/redactions", times=4)
    yield Mutant("no_fence_check", ("P4", "P5"), "sqlite/zombie", times=6)
    yield Mutant("lane_not_held_while_waiting", ("P4",), "sqlite/input_requested", times=3)
    yield Mutant("terminal_twice", ("P5",), "sqlite/calm", times=3)
    yield Mutant("orphans_forgotten", ("P6",), "sqlite/mid_stream", times=2)
    yield Mutant("requests_in_memory", ("P7",), "sqlite/any_time", times=6)
    yield Mutant("tool_sent_again", ("P8",), "sqlite/tool_done", times=4, quick=True)
    yield Mutant("tool_guessed", ("P8",), "sqlite/intent_committed", times=4)
    yield Mutant("sent_before_intent", ("P8",), "sqlite/tool_done", times=3)
    yield Mutant("effect_repeats_key_changes", ("P8",), "sqlite/tool_done", times=4)
    yield Mutant("result_left_out", ("P9",), "sqlite/tool_done", times=6)
    yield Mutant("calls_left_open", ("P9",), "sqlite/cancel_committed", times=6)
    yield Mutant("snapshot_forgets", ("P10",), "sqlite/calm", times=5)
    yield Mutant("cursor_off_by_one", ("P11",), "sqlite/calm", times=3, quick=True)
    yield Mutant("event_shown_twice", ("P11",), "sqlite/calm", times=5)
    yield Mutant("words_shown_twice", ("P11",), "sqlite/joining", times=5)
    yield Mutant("marked_before_published", ("P12",), "sqlite/nats_killed", times=10)
    yield Mutant("stream_never_checked", ("P12",), "sqlite/nats_wiped", times=4)
    yield Mutant("cancel_ignored", ("P13",), "sqlite/cancel_committed", times=4)
    yield Mutant("input_answered_twice", ("P14",), "sqlite/input_resolved", times=4)
    yield Mutant("child_started_twice", ("P16",), "sqlite/spawn", times=2)
    yield Mutant("child_given_up", ("P16",), "sqlite/spawn", times=8)
    yield Mutant("parent_never_told", ("P16",), "sqlite/spawn", times=1)
    yield Mutant("budget_not_reserved", ("P16",), "sqlite/spawn", times=2)
    yield Mutant("children_outlive_cancel", ("P16",), "sqlite/spawn", times=4)
    yield Mutant("tenant_unchecked", ("P17",), "sqlite/calm", times=4)
    yield Mutant("queue_unbounded", ("P18",), "sqlite/slow_readers", times=1)
    yield Mutant("lost_connection_kept", ("P19",), "postgres/restarted", times=1, needs=("postgres",))
    yield Mutant("broken_connection_kept", ("P19",), "sqlite/sync_fails", times=1, needs=("strace",))
    yield Mutant("failed_commit_told", ("P19",), "sqlite/sync_fails", times=6, needs=("strace",))
    yield Mutant("drain_dawdles", ("P20",), "sqlite/drain", times=2)
