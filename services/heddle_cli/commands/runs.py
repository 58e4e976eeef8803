"""`heddle runs`."""

from enum import Enum
from typing import Annotated

import typer


class State(Enum):
    """States that a run can be in, as typed."""

    QUEUED = "queued"
    RUNNING = "running"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


def list_runs(
    context: typer.Context,
    thread: Annotated[str, typer.Option("--thread", "-t", help="Only of this thread.")] = "",
    state: Annotated[list[State] | None, typer.Option("--state", help="Only in this state.")] = None,
    agent: Annotated[str, typer.Option("--agent", "-a", help="Only of this agent.")] = "",
    parent: Annotated[str, typer.Option("--parent", help="Only children of this run.")] = "",
    label: Annotated[list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="Only with it.")] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Most runs to list.")] = 50,
) -> None:
    """List runs, newest first."""
    from heddle.runtime.v1.run_pb2 import RunState
    from heddle.runtime.v1.run_service_pb2 import ListRunsRequest, ListRunsResponse
    from heddle_cli import arguments
    from heddle_cli.display.resources import run_list
    from heddle_cli.paging import collect
    from heddle_cli.session import Session, perform

    marks = arguments.labels(label or [])
    states = [RunState.Value(f"RUN_STATE_{each.name}") for each in state or ()]

    async def show(session: Session) -> None:
        async def page(size: int, token: str) -> ListRunsResponse:
            request = ListRunsRequest(
                page_size=size,
                page_token=token,
                thread_id=thread,
                states=states,
                agent_id=agent,
                parent_run_id=parent,
                labels=marks,
            )
            return await session.runtime.list_runs(request)

        found = await collect(page, "runs", most=limit)
        session.screen.result(found, lambda: run_list(found.runs))

    perform(context, show)


def show_run(context: typer.Context, run_id: Annotated[str, typer.Argument(metavar="RUN", help="The run.")]) -> None:
    """Show a run: how it stands, what it used, what it answered."""
    from heddle.runtime.v1.run_service_pb2 import GetRunRequest
    from heddle_cli.display.resources import run_sheet
    from heddle_cli.session import Session, perform

    async def show(session: Session) -> None:
        run = (await session.runtime.get_run(GetRunRequest(run_id=run_id))).run
        session.screen.result(run, lambda: run_sheet(run))

    perform(context, show)


def sum_usage(
    context: typer.Context,
    thread: Annotated[str, typer.Option("--thread", "-t", help="Only of this thread.")] = "",
    agent: Annotated[str, typer.Option("--agent", "-a", help="Only of this agent.")] = "",
    since: Annotated[str, typer.Option("--since", metavar="TIME", help="Only runs that ended at or after this.")] = "",
    until: Annotated[str, typer.Option("--until", metavar="TIME", help="Only runs that ended before this.")] = "",
) -> None:
    """Sum up what runs have used. TIME is as 2026-11-23 or 2026-11-23T08:00:00Z."""
    from heddle.runtime.v1.run_service_pb2 import QueryUsageRequest
    from heddle_cli import arguments
    from heddle_cli.display.times import spent
    from heddle_cli.session import Session, perform

    request = QueryUsageRequest(thread_id=thread, agent_id=agent)
    if since:
        request.start_time.FromDatetime(arguments.time(since))
    if until:
        request.end_time.FromDatetime(arguments.time(until))

    async def show(session: Session) -> None:
        answer = await session.stubs.runs.QueryUsage(request)
        session.screen.result(answer, lambda: f"{answer.runs} runs used {spent(answer.usage)}")

    perform(context, show)


COMMANDS = {"list": list_runs, "show": show_run, "usage": sum_usage}
