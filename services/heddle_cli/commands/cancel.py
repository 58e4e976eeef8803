"""`heddle cancel`."""

from typing import Annotated

import typer


def cancel(
    context: typer.Context,
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="The run.")],
    note: Annotated[str, typer.Option("--note", help="Why, for people.")] = "",
) -> None:
    """Stop a run and its children."""
    from heddle.runtime.v1.agent_runtime_pb2 import CancelRunRequest
    from heddle_cli.session import Session, perform

    async def stop(session: Session) -> None:
        request = CancelRunRequest(request_id=session.new_request_id(), run_id=run_id, note=note)
        answer = await session.runtime.cancel_run(request)
        session.screen.result(
            answer,
            lambda: [
                f"run {each.run_id} is stopped: no tool call of it starts after sequence {each.cancel_sequence}"
                if each.cancel_sequence
                else f"run {each.run_id} had ended already"
                for each in answer.cancelled
            ],
        )

    perform(context, stop)


COMMANDS = {"cancel": cancel}
