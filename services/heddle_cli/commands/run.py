"""`heddle run`."""

from typing import Annotated, Any

import typer


def run(
    context: typer.Context,
    text: Annotated[str, typer.Argument(metavar="[TEXT|-]", help="What to say; `-` reads it from stdin.")] = "",
    file: Annotated[str, typer.Option("--file", "-f", metavar="FILE", help="Read what to say from a file.")] = "",
    thread: Annotated[str, typer.Option("--thread", "-t", help="Go on in this thread; a new one otherwise.")] = "",
    agent: Annotated[str, typer.Option("--agent", "-a", help="Agent that answers.")] = "",
    model: Annotated[str, typer.Option("--model", "-m", help="Model to ask instead of the agent's.")] = "",
    schema: Annotated[str, typer.Option("--schema", metavar="FILE", help="JSON Schema of the answer.")] = "",
    label: Annotated[list[str] | None, typer.Option("--label", metavar="KEY=VALUE", help="Label of the run.")] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Propose a plan first, and act once it is approved.")] = False,
    wait: Annotated[
        bool | None,
        typer.Option(
            "--wait/--no-wait",
            help="Wait also while somebody else must answer; or only start it. Default: until it ends or asks.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Start one turn and show what the agent answers."""
    from heddle_cli import arguments
    from heddle_cli.session import Session, perform

    said = _said(text, file)
    shape = arguments.json_text(schema) if schema else ""
    marks = arguments.labels(label or [])

    async def start(session: Session) -> Any:
        from heddle_cli.turn_requests import start_request, turn

        asked = turn(said, agent=agent, model=model, schema=shape, labels=marks, plan=plan)
        request = start_request(session, asked, thread_id=thread)
        if wait is False:
            return await _only_start(session, request)
        return await _follow(session, request, to_the_end=wait is True)

    perform(context, start)


def _said(text: str, file: str) -> str:
    from heddle_cli import arguments

    if bool(text) == bool(file):
        raise typer.BadParameter("say something: TEXT, `-` for stdin, or -f FILE; one of them")
    said = arguments.text(file or "-") if file or text == "-" else text
    if not said.strip():
        raise typer.BadParameter("there is nothing to say: the text is empty")
    return said


async def _only_start(session: Any, request: Any) -> None:
    from heddle.runtime.v1.agent_runtime_pb2 import StartTurnRequest
    from heddle_cli.display.resources import run_sheet

    plain = StartTurnRequest(
        request_id=request.request_id,
        thread_id=request.thread_id,
        create_if_missing=request.create_if_missing,
        turn=request.turn,
    )
    answer = await session.runtime.start_turn(plain)
    session.screen.result(answer.run, lambda: run_sheet(answer.run))


async def _follow(session: Any, request: Any, *, to_the_end: bool) -> Any:
    from heddle_cli.run_ends import show_to_its_end
    from heddle_cli.turns import turn_source

    request.end_on_waiting = session.screen.can_ask or not to_the_end
    return await show_to_its_end(session, turn_source(session, request), turn_request_id=request.request_id)


COMMANDS = {"run": run}
