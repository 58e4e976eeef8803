"""`heddle chat`."""

from typing import Annotated

import typer


def chat(
    context: typer.Context,
    thread: Annotated[str, typer.Argument(metavar="[THREAD]", help="Go on there; a new thread otherwise.")] = "",
    agent: Annotated[str, typer.Option("--agent", "-a", help="Agent to talk with.")] = "",
    model: Annotated[str, typer.Option("--model", "-m", help="Model to ask instead of the agent's.")] = "",
    plan: Annotated[bool, typer.Option("--plan", help="Let the agent propose a plan before it acts.")] = False,
) -> None:
    """Talk with an agent.

    Ctrl-C stops the answer; a second one leaves. /help lists what else can be typed. With --json, each run that an
    answer came from is one line.
    """
    from heddle_cli.chat import Chat
    from heddle_cli.display.screen import Screen
    from heddle_cli.faults import told
    from heddle_cli.options import options_of

    options = options_of(context)
    screen = Screen(machine=options.machine)
    with told(screen):
        Chat(options, screen, thread_id=thread, agent=agent, model=model, plan=plan).talk()


COMMANDS = {"chat": chat}
