"""The checker: every promise against the evidence of one run. It knows nothing of Heddle but its contract's numbers."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.faults.checker import (
    answers,
    families,
    life,
    logs,
    outages,
    outside,
    recovery,
    rows,
    streams,
    traces,
    views,
    wire,
)
from tests.faults.checker.evidence import Evidence, Line, Violation

Check = Callable[[Evidence], Iterator[Violation]]

CHECKS: tuple[Check, ...] = (
    answers.p1_turns,
    answers.p1_cancels,
    answers.p1_answers,
    traces.p1_synced,
    life.p1_deletions,
    life.p1_forks,
    logs.p2_sequences,
    logs.p2_commit_order,
    logs.p3_chain,
    logs.p3_seen,
    life.p3_trimmed,
    life.p3_deleted,
    life.p3_forks,
    logs.p4_lane,
    logs.p4_stale_owner,
    logs.p5_terminal,
    recovery.p6_settled,
    recovery.p6_orphans,
    answers.p7_one_run,
    answers.p7_one_effect,
    logs.p8_dispatches,
    outside.p8_effects,
    outside.p8_intents,
    outside.p8_no_guess,
    logs.p9_results,
    outside.p9_history,
    views.p10_fold,
    views.p10_same,
    views.p10_stored,
    streams.p11_order,
    streams.p11_said,
    streams.p11_whole,
    streams.p11_end,
    streams.p11_resume,
    streams.p11_words,
    streams.p11_explicit,
    outside.p12_published,
    outside.p12_order,
    outside.p12_true,
    logs.p13_after_cancel,
    recovery.p13_in_time,
    logs.p14_inputs,
    answers.p14_one_winner,
    life.p14_timeouts,
    *families.CHECKS,
    answers.p17_strangers,
    streams.p18_slow_readers,
    outages.p19_recovers,
    outages.p19_says_nothing,
    recovery.p20_drains,
)

_RECONCILE = 6


@dataclass(frozen=True)
class Counts:
    """What a run has really put to the test."""

    acknowledged: int
    """Turns that were acknowledged, each counted once."""
    unknown_answers: int
    """Calls of which the client was not told what became of them."""
    takeovers: int
    """Runs that went on under another claim because their owner was gone."""
    unknowns: int
    """Tool calls whose effect was in doubt."""
    fence_refusals: int
    """Times that an owner learnt, from the store or from its lease, that it owns the run no more."""
    cancels: int
    resumed_streams: int
    snapshots: int
    """Folds that are stored."""
    cut_readers: int
    refused_by_store: int
    """Calls that were refused because the store was in trouble."""
    tried_in_outage: int
    """Calls that change something, made and answered somehow while the store could commit nothing."""
    events: int
    published: int
    """Messages that consumers of the broker were sent, repeats among them."""
    timeouts: int
    """Inputs that nobody answered in time."""
    forks: int
    trimmed: int
    """Events that retention has removed."""
    deleted: int
    """Threads that are gone."""
    clock_jumps: int
    killed: int
    """Runtimes that were ended by SIGKILL, wherever they were."""
    children: int
    """That the spawn service has on record."""
    parents_told: int
    too_deep: int
    """Children that were refused because of a bound, whoever asked and whoever refused."""
    too_wide: int
    too_dear: int
    spawn_killed: int
    """Spawn services that were ended by SIGKILL in a process of their own."""


def check(evidence: Evidence) -> list[Violation]:
    """Every promise that was not kept."""
    return [violation for each in CHECKS for violation in each(evidence)]


def count(evidence: Evidence) -> Counts:
    """How much the evidence shows."""
    gone = evidence.deleted
    starts = list(evidence.answered("StartTurn", "RetryRun"))
    attempts: dict[tuple[str, str], int] = {}
    for event in evidence.tables.events:
        if event.kind in (rows.RUN_STARTED, rows.RUN_RESUMED):
            key = (event.tenant, event.run_id)
            attempts[key] = max(attempts.get(key, 1), event.integer(1))
    in_doubt = sum(
        (event.kind == rows.TOOL_CALL_COMPLETED and event.integer(2) == rows.UNKNOWN)
        or (event.kind == rows.INPUT_REQUESTED and wire.integer(wire.inner(event.body, 1), 5) == _RECONCILE)
        for event in evidence.tables.events
    )
    return Counts(
        acknowledged=len({(call["tenant"], call["principal"], call["asked"]["request_id"]) for call in starts}),
        unknown_answers=sum(call["outcome"] == "unknown" for call in evidence.calls),
        takeovers=sum(attempt - 1 for attempt in attempts.values()),
        unknowns=in_doubt,
        fence_refusals=evidence.node_logs.count("lost the run"),
        cancels=sum(event.kind == rows.RUN_CANCEL_REQUESTED for event in evidence.tables.events),
        resumed_streams=sum(bool(stream.opened["follows"]) for stream in evidence.streams),
        snapshots=len(evidence.tables.snapshots),
        cut_readers=sum("SLOW_READER" in stream.end for stream in evidence.streams),
        refused_by_store=sum(call["reason"] == "STORE_UNAVAILABLE" for call in evidence.calls),
        tried_in_outage=outages.tried(evidence),
        events=len(evidence.tables.events),
        published=sum(line["kind"] == "message" for line in evidence.broker),
        timeouts=sum(event.kind == rows.INPUT_RESOLVED and event.integer(2) == 6 for event in evidence.tables.events),
        forks=sum(event.kind == rows.THREAD_FORKED for event in evidence.tables.events),
        trimmed=sum(event.gone and (event.tenant, event.thread_id) not in gone for event in evidence.tables.events),
        deleted=len(gone),
        clock_jumps=evidence.clock_jumps,
        killed=sum(_was_killed(line) for line in evidence.supervisor),
        children=len(evidence.families.spawns),
        parents_told=families.told(evidence),
        too_deep=families.refusals(evidence, "DEPTH_EXCEEDED"),
        too_wide=families.refusals(evidence, "FAN_OUT_EXCEEDED"),
        too_dear=families.refusals(evidence, "BUDGET_EXCEEDED"),
        spawn_killed=sum(_was_killed(line) for line in evidence.family_journal),
    )


def killed_at(evidence: Evidence) -> dict[str, int]:
    """How often a process was killed at each place that it names."""
    found: Counter[str] = Counter()
    for line in (*evidence.supervisor, *evidence.family_journal):
        if line["kind"] == "down" and line["how"] == "on the way up":
            found[line["failpoint"].partition(":")[0]] += 1
        elif line["kind"] == "down" and line["how"].startswith("killed at "):
            found[line["how"].removeprefix("killed at ").partition(" ")[0]] += 1
    return dict(found)


def _was_killed(line: Line) -> bool:
    return line["kind"] == "down" and (line["how"].startswith("killed") or line["how"] == "on the way up")
