"""`heddle retry`."""

from typing import Annotated

import typer


def retry(
    context: typer.Context,
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="A run that has ended.")],
    text: Annotated[str, typer.Option("--text", help="Say this instead.")] = "",
    model: Annotated[str, typer.Option("--model", help="Ask this model instead.")] = "",
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Follow the new run to its end.")] = True,
) -> None:
    """Run a turn again, with other words if you like."""
    from heddle.common.v1.content_pb2 import ContentPart
    from heddle.runtime.v1.run_service_pb2 import RetryRunRequest
    from heddle_cli.display.resources import run_sheet
    from heddle_cli.faults import ExitCode
    from heddle_cli.run_ends import show_to_its_end
    from heddle_cli.session import Session, perform
    from heddle_cli.turns import Telling, run_source

    async def again(session: Session) -> ExitCode | None:
        request = RetryRunRequest(
            request_id=session.new_request_id(),
            run_id=run_id,
            content=[ContentPart(text=text)] if text else [],
            model=model,
        )
        run = (await session.stubs.runs.RetryRun(request)).run
        if not wait:
            session.screen.result(run, lambda: run_sheet(run))
            return None
        told = Telling(thread_id=run.thread_id, run_id=run.run_id)
        return await show_to_its_end(session, run_source(session, run), told=told)

    perform(context, again)


COMMANDS = {"retry": retry}
