"""Parents and children: who may start one, what it may spend, and what comes back (SEMANTICS 16, 29)."""

from heddle_core.ids import RunId, ThreadId
from heddle_core.runtime_errors import BudgetExceeded, DepthExceeded, FanOutExceeded, ParentCancelled, ParentFinished
from heddle_core.usage import MicroUsd
from heddle_core.values import value
from heddle_database.port import Transaction
from heddle_runtime.facade.commands import AcceptTurn
from heddle_runtime.runs.run import Run
from heddle_runtime.runs.state import RunState
from heddle_runtime.runs.usage import Limits
from heddle_runtime.store.log import LogWriter, draft
from heddle_runtime.store.run_rows import find_run, get_run
from heddle_runtime.threads.accounting import spent
from heddle_runtime.threads.events import ChildFinished, ChildSpawned


@value
class Family:
    """Where a new run stands in its tree."""

    parent: Run | None = None
    granted: Limits | None = None
    cascades: bool = False

    @property
    def depth(self) -> int:
        """Steps below the root."""
        return self.parent.depth + 1 if self.parent else 0

    @property
    def root_run_id(self) -> RunId:
        """The topmost run, or empty where the new run is that itself."""
        return self.parent.root_run_id if self.parent else RunId("")

    def bounds(self, limits: Limits) -> Limits:
        """The new run's limits within what its parent grants."""
        return limits.within(self.granted) if self.granted else limits


def require_parent(writer: LogWriter, command: AcceptTurn) -> Run | None:
    """The turn's parent, if it names one.

    Raises:
        RunNotFound, ParentCancelled, ParentFinished.
    """
    reference = command.turn.parent
    if reference is None:
        return None
    tenant = command.caller.tenant
    writer.lock(tenant, get_run(writer.tx, tenant, reference.run_id).thread_id)
    parent = get_run(writer.tx, tenant, reference.run_id)  # as it is now that nobody can change it
    if parent.cancel_sequence:
        raise ParentCancelled(parent.run_id)
    if parent.state.terminal:
        raise ParentFinished(parent.run_id)
    return parent


def admit_child(writer: LogWriter, command: AcceptTurn) -> Family:
    """Check that the turn's parent may have one more child, and reserve the child's slice on the parent's row.

    Raises:
        RunNotFound, ParentCancelled, ParentFinished, DepthExceeded, FanOutExceeded, BudgetExceeded.
    """
    reference, parent = command.turn.parent, require_parent(writer, command)
    if reference is None or parent is None:
        return Family()
    if parent.depth + 1 > command.most_depth:
        raise DepthExceeded(parent.run_id, parent.depth, command.most_depth)
    children = _open_children(writer.tx, parent)
    if children >= command.most_children:
        raise FanOutExceeded(parent.run_id, children, command.most_children)
    granted = _reserve(writer.tx, parent, reference.budget or Limits())
    return Family(parent, granted, reference.cascades)


def announce_child(writer: LogWriter, family: Family, child: Run) -> None:
    """Write the child's start into its parent's thread."""
    if family.parent is None:
        return
    head = writer.lock(child.tenant, family.parent.thread_id)
    spawned = ChildSpawned(child.run_id, child.thread_id, child.agent, family.granted)
    writer.append(head, [draft(family.parent.run_id, spawned)])


def parent_thread(tx: Transaction, child: Run) -> ThreadId | None:
    """The thread that hears of the child's end, if there is one."""
    parent = find_run(tx, child.tenant, child.parent_run_id) if child.parent_run_id else None
    return parent.thread_id if parent else None


def settle_child(writer: LogWriter, child: Run, state: RunState) -> None:
    """Give back what a child that has ended did not spend, and tell its parent's thread, unless that one has ended."""
    if not child.parent_run_id:
        return
    parent = find_run(writer.tx, child.tenant, child.parent_run_id)
    if parent is None or parent.state.terminal:
        return
    head = writer.lock(child.tenant, parent.thread_id)
    parent = get_run(writer.tx, child.tenant, parent.run_id)  # as it is now that nobody can change it
    if parent.state.terminal:
        return
    finished = ChildFinished(child.run_id, state, child.usage)
    charged = spent(finished)
    writer.tx.run(
        "UPDATE runs SET reserved_tokens = reserved_tokens - (SELECT c.granted_tokens FROM runs c"
        " WHERE c.tenant = :tenant AND c.run_id = :child), reserved_cost = reserved_cost -"
        " (SELECT c.granted_cost FROM runs c WHERE c.tenant = :tenant AND c.run_id = :child),"
        " input_tokens = input_tokens + :input,"
        " output_tokens = output_tokens + :output, cached_input_tokens = cached_input_tokens + :cached,"
        " reasoning_tokens = reasoning_tokens + :reasoning, model_calls = model_calls + :model_calls,"
        " tool_calls = tool_calls + :tool_calls, cost = cost + :cost WHERE tenant = :tenant AND run_id = :parent",
        tenant=child.tenant,
        child=child.run_id,
        parent=parent.run_id,
        input=charged.input_tokens,
        output=charged.output_tokens,
        cached=charged.cached_input_tokens,
        reasoning=charged.reasoning_tokens,
        model_calls=charged.model_calls,
        tool_calls=charged.tool_calls,
        cost=charged.cost,
    )
    if not parent.cancel_sequence:
        writer.append(head, [draft(parent.run_id, finished)])


def _open_children(tx: Transaction, parent: Run) -> int:
    row = tx.row(
        "SELECT COUNT(*) FROM runs WHERE tenant = :tenant AND parent_run_id = :parent AND state < :terminal",
        tenant=parent.tenant,
        parent=parent.run_id,
        terminal=int(RunState.COMPLETED),
    )
    return row[0] if row else 0


def _reserve(tx: Transaction, parent: Run, asked: Limits) -> Limits:
    row = tx.row(
        "SELECT reserved_tokens, reserved_cost FROM runs WHERE tenant = :tenant AND run_id = :run",
        tenant=parent.tenant,
        run=parent.run_id,
    )
    reserved_tokens, reserved_cost = row if row else (0, 0)
    tokens = _slice(parent, "tokens", parent.limits.tokens, parent.usage.tokens + reserved_tokens, asked.tokens)
    cost = _slice(parent, "cost", parent.limits.cost, parent.usage.cost + reserved_cost, asked.cost)
    tx.run(
        "UPDATE runs SET reserved_tokens = reserved_tokens + :tokens, reserved_cost = reserved_cost + :cost"
        " WHERE tenant = :tenant AND run_id = :run",
        tokens=tokens,
        cost=cost,
        tenant=parent.tenant,
        run=parent.run_id,
    )
    return Limits(
        steps=asked.steps,
        tokens=tokens,
        output_tokens_per_step=asked.output_tokens_per_step,
        cost=MicroUsd(cost),
        wall_time=asked.wall_time,
        tool_calls=asked.tool_calls,
    )


def _slice(parent: Run, which: str, limit: int, used: int, asked: int) -> int:
    """What is reserved of one bound: what was asked, or all that is left."""
    if not limit:
        return asked
    left = limit - used
    if left <= 0 or asked > left:
        raise BudgetExceeded(parent.run_id, which, str(max(left, 0)), str(asked or "some"))
    return asked or left
