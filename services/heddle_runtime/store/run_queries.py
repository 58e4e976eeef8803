"""Runs as they are found, listed, summed up and explained."""

from heddle_core.clock import Micros
from heddle_core.ids import InputId, RunId, TenantId, WorkerId
from heddle_core.usage import MicroUsd, Usage
from heddle_database.port import Row, Transaction
from heddle_runtime.facade.page_commands import Listing
from heddle_runtime.facade.run_commands import ListRuns, QueryUsage, RunFacts, UsageSum
from heddle_runtime.runs.run import Run
from heddle_runtime.runs.state import InputState, RunState
from heddle_runtime.store.pages import Key, Query, placeholders, read_page
from heddle_runtime.store.run_rows import COLUMNS, get_run, run_value

_COUNTED = ("input_tokens", "output_tokens", "cached_input_tokens", "reasoning_tokens", "model_calls", "tool_calls")
_USED = (*_COUNTED, "cost")


def list_runs(tx: Transaction, command: ListRuns) -> Listing[Run]:
    """A page of runs, newest first unless asked otherwise.

    Raises:
        InvalidField: the cursor does not fit the order.
    """
    conditions, parameters = ["tenant = :tenant"], dict[str, object](tenant=command.tenant)
    for column, given in (
        ("thread_id", command.thread_id),
        ("parent_run_id", command.parent_run_id),
        ("agent_id", command.agent_id),
    ):
        if given:
            conditions.append(f"{column} = :{column}")
            parameters[column] = given
    if command.states:
        condition, states = placeholders("state", [int(state) for state in command.states])
        conditions.append(f"state {condition}")
        parameters.update(states)
    newest_first = not command.oldest_first
    keys = (Key("create_time", newest_first), Key("run_id", newest_first, text=True))
    query = Query(COLUMNS, "FROM runs", keys, conditions, parameters)
    labels = command.labels.items()
    return read_page(tx, query, command.page, run_value, (lambda run: labels <= run.labels.items()) if labels else None)


def query_usage(tx: Transaction, command: QueryUsage) -> UsageSum:
    """What the runs that ended in a time have used together.

    A parent's row holds what its children used, once they have ended before it; so a child is summed up by itself
    only where its parent is not among the runs, or ended first.
    """
    conditions, parameters = _ended(command)
    among = " AND ".join(condition.format("r") for condition in conditions)
    parent = " AND ".join(condition.format("p") for condition in conditions)
    sums = ", ".join(f"COALESCE(SUM(CASE WHEN counted = 1 THEN {name} ELSE 0 END), 0)" for name in _USED)
    row = tx.row(
        f"SELECT COUNT(*), {sums} FROM (SELECT {', '.join(f'r.{name}' for name in _USED)}, CASE WHEN EXISTS"
        " (SELECT 1 FROM runs p WHERE p.tenant = r.tenant AND p.run_id = r.parent_run_id AND p.end_time >= r.end_time"
        f" AND {parent}) THEN 0 ELSE 1 END AS counted FROM runs r WHERE {among}) AS summed",
        **parameters,
    )
    assert row is not None, "an aggregate gives a row"
    used = {name: int(value) for name, value in zip(_USED, row[1:], strict=True)}
    return UsageSum(Usage(**{name: used[name] for name in _COUNTED}, cost=MicroUsd(used["cost"])), row[0])


def explain_run(tx: Transaction, tenant: TenantId, run_id: RunId) -> RunFacts:
    """All that the rows tell about why a run stands where it stands.

    Raises:
        RunNotFound: the tenant has no such run.
    """
    run = get_run(tx, tenant, run_id)
    holder = _holder(tx, run)
    position, ahead = _place(tx, run)
    worker, until = _lease(tx, run)
    pending = _pending(tx, run) or (_pending(tx, holder) if holder else ())
    return RunFacts(run, tx.now, holder, position, ahead, pending, worker, until)


def unfinished_runs(tx: Transaction, tenant: TenantId, thread_id: str) -> tuple[Run, ...]:
    """The runs of a thread that have not ended, in the order of their turns."""
    rows = tx.rows(
        f"SELECT {COLUMNS} FROM runs WHERE tenant = :tenant AND thread_id = :thread AND state < :terminal"
        " ORDER BY queue_rank",
        tenant=tenant,
        thread=thread_id,
        terminal=int(RunState.COMPLETED),
    )
    return tuple(run_value(row) for row in rows)


def _ended(command: QueryUsage) -> tuple[list[str], dict[str, object]]:
    conditions = ["{0}.tenant = :tenant", "{0}.end_time > 0"]
    parameters: dict[str, object] = {"tenant": command.tenant}
    if command.start_time is not None:
        conditions.append("{0}.end_time >= :start")
        parameters["start"] = command.start_time
    if command.end_time is not None:
        conditions.append("{0}.end_time < :end")
        parameters["end"] = command.end_time
    if command.thread_id:
        conditions.append("{0}.thread_id = :thread")
        parameters["thread"] = command.thread_id
    if command.agent_id:
        conditions.append("{0}.agent_id = :agent")
        parameters["agent"] = command.agent_id
    return conditions, parameters


def _holder(tx: Transaction, run: Run) -> Run | None:
    row = tx.row(
        "SELECT lane_run_id FROM threads WHERE tenant = :tenant AND thread_id = :thread",
        tenant=run.tenant,
        thread=run.thread_id,
    )
    if row is None or not row[0] or row[0] == run.run_id:
        return None
    return get_run(tx, run.tenant, RunId(row[0]))


def _place(tx: Transaction, run: Run) -> tuple[int, RunId]:
    if run.state is not RunState.QUEUED:
        return 0, RunId("")
    queued: list[Row] = tx.rows(
        "SELECT run_id FROM runs WHERE tenant = :tenant AND thread_id = :thread AND state = :queued AND queue_rank <="
        " (SELECT queue_rank FROM runs WHERE tenant = :tenant AND run_id = :run) ORDER BY queue_rank",
        tenant=run.tenant,
        thread=run.thread_id,
        queued=int(RunState.QUEUED),
        run=run.run_id,
    )
    return len(queued), RunId(queued[-2][0]) if len(queued) > 1 else RunId("")


def _lease(tx: Transaction, run: Run) -> tuple[WorkerId, Micros | None]:
    if run.state is not RunState.RUNNING:
        return WorkerId(""), None
    row = tx.row("SELECT worker_id, lease_until FROM workers WHERE worker_id = :worker", worker=run.owner)
    return (WorkerId(row[0]), Micros(row[1])) if row else (WorkerId(""), None)


def _pending(tx: Transaction, run: Run) -> tuple[InputId, ...]:
    rows = tx.rows(
        "SELECT input_id FROM inputs WHERE tenant = :tenant AND run_id = :run AND state = :pending"
        " ORDER BY create_time, input_id",
        tenant=run.tenant,
        run=run.run_id,
        pending=int(InputState.PENDING),
    )
    return tuple(InputId(row[0]) for row in rows)
