"""The inbox: inputs as they are found and listed across threads."""

from heddle_database.port import Transaction
from heddle_runtime.facade.page_commands import Listing
from heddle_runtime.facade.run_commands import InputOrder, ListInputs
from heddle_runtime.runs.inputs import InputRequest
from heddle_runtime.store.input_rows import COLUMNS, input_value
from heddle_runtime.store.pages import Key, Query, placeholders, read_page

_ORDERS = {
    InputOrder.OLDEST_FIRST: (Key("create_time"), Key("input_id", text=True)),
    InputOrder.NEWEST_FIRST: (Key("create_time", descending=True), Key("input_id", descending=True, text=True)),
    # Those that never expire come last.
    InputOrder.FIRST_TO_EXPIRE: (
        Key("CASE WHEN expire_time = 0 THEN 1 ELSE 0 END"),
        Key("expire_time"),
        Key("input_id", text=True),
    ),
}


def list_inputs(tx: Transaction, command: ListInputs) -> Listing[InputRequest]:
    """A page of inputs.

    Raises:
        InvalidField: the cursor does not fit the order.
    """
    in_states, parameters = placeholders("state", [int(state) for state in command.states])
    conditions = ["tenant = :tenant", f"state {in_states}"]
    parameters["tenant"] = command.tenant
    if command.kinds:
        of_kinds, kinds = placeholders("kind", [int(kind) for kind in command.kinds])
        conditions.append(f"kind {of_kinds}")
        parameters.update(kinds)
    if command.thread_id:
        conditions.append("thread_id = :thread")
        parameters["thread"] = command.thread_id
    if command.run_id:
        conditions.append("run_id = :run")
        parameters["run"] = command.run_id
    query = Query(COLUMNS, "FROM inputs", _ORDERS[command.order], conditions, parameters)
    return read_page(tx, query, command.page, input_value)
