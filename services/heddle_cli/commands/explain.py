"""`heddle explain`."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from heddle_core.faults import HeddleError


def explain(
    context: typer.Context,
    subject: Annotated[str, typer.Argument(metavar="RUN|REASON", help="A run, or an error's reason.")],
) -> None:
    """Say why a run does not move, or what an error means."""
    from heddle_cli.display.screen import Screen
    from heddle_cli.options import options_of
    from heddle_core.reasons import by_reason

    family = by_reason(subject.upper().replace("-", "_"))
    if family is None:
        _explain_run(context, subject)
        return
    screen = Screen(machine=options_of(context).machine)
    if screen.machine:
        screen.data(told_reason(family))
    else:
        told = told_reason(family)
        screen.say(f"{told['reason']} ({told['status']})")
        screen.say(f"  {told['message']}")
        screen.say(f"  {told['retry']}")


def told_reason(family: "type[HeddleError]") -> dict[str, str]:
    """What there is to say of a reason: its status, its message with names for what varies, and when to retry."""
    from heddle_core.faults import StatusCode

    message = " ".join((family.__doc__ or "").split()).replace("{", "<").replace("}", ">")
    retry = "Sending the same again does not help: change what it says first."
    if family.retry_after is not None:
        retry = f"Send the same request again after {family.retry_after.total_seconds():g} s, or as RetryInfo says."
    elif family.status is StatusCode.ABORTED:
        retry = "Read again, then retry the whole."
    return {"reason": family.reason, "status": family.status.name, "message": message, "retry": retry}


def _explain_run(context: typer.Context, run_id: str) -> None:
    from heddle.runtime.v1.run_service_pb2 import ExplainRunRequest
    from heddle_cli.display import names
    from heddle_cli.display.tables import sheet
    from heddle_cli.display.times import when
    from heddle_cli.session import Session, perform

    async def ask(session: Session) -> None:
        told = await session.stubs.runs.ExplainRun(ExplainRunRequest(run_id=run_id))
        session.screen.result(
            told,
            lambda: [
                told.explanation,
                sheet(
                    (
                        ("state", names.run_state(told.run.state)),
                        ("thread", told.run.thread_id),
                        ("behind run", told.blocking_run_id),
                        ("place in queue", str(told.queue_position or "")),
                        ("owner", told.owner_worker_id),
                        ("lease ends", when(told.lease_expire_time) if told.HasField("lease_expire_time") else ""),
                        ("waits for", ", ".join(told.pending_input_ids)),
                        ("limit", told.quota),
                    )
                ),
            ],
        )

    perform(context, ask)


COMMANDS = {"explain": explain}
