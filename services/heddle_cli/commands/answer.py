"""`heddle answer`."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from heddle.runtime.v1.input_pb2 import InputAnswer, InputRequest
    from heddle_cli.display.screen import Screen


def answer(
    context: typer.Context,
    input_id: Annotated[str, typer.Argument(metavar="[INPUT]", help="What to answer. Left out: list the inbox.")] = "",
    approve: Annotated[bool, typer.Option("--approve", help="Yes.")] = False,
    deny: Annotated[bool, typer.Option("--deny", help="No; --text says why.")] = False,
    for_thread: Annotated[
        bool, typer.Option("--for-thread", help="With --approve: every call of this tool in this thread.")
    ] = False,
    text: Annotated[str, typer.Option("--text", help="Free text, a result, or the reason of a no.")] = "",
    option: Annotated[list[str] | None, typer.Option("--option", help="A choice; give it again for several.")] = None,
    json_file: Annotated[str, typer.Option("--json-file", metavar="FILE", help="JSON; `-` reads stdin.")] = "",
    edit: Annotated[bool, typer.Option("--edit", help="Approve with arguments edited in $EDITOR.")] = False,
    thread: Annotated[str, typer.Option("--thread", "-t", help="Without INPUT: only of this thread.")] = "",
) -> None:
    """Answer what an agent asks, or list what is asked.

    With --approve, --json-file gives the arguments to send instead.
    """
    from heddle.runtime.v1.agent_runtime_pb2 import ResolveInputRequest
    from heddle.runtime.v1.input_service_pb2 import GetInputRequest
    from heddle_cli import arguments
    from heddle_cli.display import names
    from heddle_cli.session import Session, perform

    given = Given(
        approve, deny, for_thread, text, option or [], arguments.json_text(json_file) if json_file else "", edit
    )
    given.check(has_input=bool(input_id))

    async def resolve(session: Session) -> None:
        asked = (await session.stubs.inputs.GetInput(GetInputRequest(input_id=input_id))).input
        told = given.answer(session.screen, asked)
        if told is None:
            session.screen.note("left for later")
            return
        request = ResolveInputRequest(request_id=session.new_request_id(), input_id=input_id, answer=told)
        done = await session.runtime.resolve_input(request)
        session.screen.result(
            done,
            lambda: (
                f"input {input_id} is {names.input_state(done.input.state)}; "
                f"run {done.run.run_id} is {names.run_state(done.run.state)}"
            ),
        )

    if input_id:
        perform(context, resolve)
    else:
        _list(context, thread)


class Given:
    """What was typed as the answer."""

    def __init__(
        self, approve: bool, deny: bool, for_thread: bool, text: str, options: list[str], json_text: str, edit: bool
    ) -> None:
        self.approve = approve or edit
        self.deny = deny
        self.for_thread = for_thread
        self.text = text
        self.options = options
        self.json_text = json_text
        self.edit = edit

    @property
    def is_empty(self) -> bool:
        """Whether nothing was given: then a person is asked."""
        return not (self.approve or self.deny or self.text or self.options or self.json_text)

    def check(self, *, has_input: bool) -> None:
        """Refuse what contradicts itself, as wrong usage."""
        if self.approve and (self.deny or self.options or self.text):
            raise typer.BadParameter("--approve goes with --for-thread and --json-file only")
        if self.deny and (self.options or self.json_text):
            raise typer.BadParameter("--deny goes with --text only")
        if self.edit and self.json_text:
            raise typer.BadParameter("give the arguments by --edit or by --json-file, not by both")
        if self.for_thread and not self.approve:
            raise typer.BadParameter("--for-thread goes with --approve")
        if not has_input and not (self.is_empty and not self.for_thread):
            raise typer.BadParameter("name the INPUT to answer; `heddle answer` alone lists what is asked")

    def answer(self, screen: "Screen", asked: "InputRequest") -> "InputAnswer | None":
        """The answer for an input. Asks when nothing was given and somebody is there; None: later."""
        from heddle.runtime.v1.input_pb2 import InputKind
        from heddle_cli import asking

        if self.is_empty:
            if not screen.can_ask:
                raise typer.BadParameter("say what to answer: --approve, --deny, --text, --option or --json-file")
            return asking.ask(screen, asked)
        if self.deny:
            return asking.denial(self.text)
        if self.approve:
            edited = asking.edited_arguments(asked) if self.edit else self.json_text
            return asking.approval(scope_thread=self.for_thread, edited=edited)
        is_work = asked.kind in (
            InputKind.INPUT_KIND_EXTERNAL,
            InputKind.INPUT_KIND_CLIENT_TOOL,
            InputKind.INPUT_KIND_RECONCILE,
        )
        if is_work:
            return asking.result(self.text or self.json_text)
        return asking.said(self.text, options=self.options, json_text=self.json_text)


def _list(context: typer.Context, thread: str) -> None:
    from heddle.runtime.v1.input_service_pb2 import ListInputsRequest, ListInputsResponse
    from heddle_cli.display.resources import input_list
    from heddle_cli.paging import MOST_PAGE, collect
    from heddle_cli.session import Session, perform

    async def show(session: Session) -> None:
        async def page(size: int, token: str) -> ListInputsResponse:
            request = ListInputsRequest(page_size=size, page_token=token, thread_id=thread)
            return await session.stubs.inputs.ListInputs(request)

        found = await collect(page, "inputs", most=MOST_PAGE)
        session.screen.result(found, lambda: input_list(found.inputs))

    perform(context, show)


COMMANDS = {"answer": answer}
