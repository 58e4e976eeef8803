"""`heddle doctor`."""

from typing import Annotated

import typer


def doctor(
    context: typer.Context,
    data_dir: Annotated[str, typer.Option("--data-dir", metavar="FOLDER", help="Folder that `heddle up` uses.")] = "",
) -> None:
    """Look for what is missing here, and say what to do.

    Exits with 1 when something must be done.
    """
    import asyncio
    from dataclasses import asdict

    from heddle_cli.display.screen import Screen
    from heddle_cli.examination import examine
    from heddle_cli.faults import ExitCode, leave
    from heddle_cli.options import options_of

    options = options_of(context)
    screen = Screen(machine=options.machine)
    findings = asyncio.run(examine(options, data_dir or ".heddle"))
    bad = any(each.grade == "bad" for each in findings)
    if screen.machine:
        screen.data({"ok": not bad, "findings": [asdict(each) for each in findings]})
    for each in () if screen.machine else findings:
        mark = {"good": "ok  ", "note": "note", "bad": "BAD "}[each.grade]
        screen.say(f"{mark}  {each.subject}: {each.found}")
        if each.remedy:
            screen.say(f"      what to do: {each.remedy}")
    leave(ExitCode.RUN_FAILED if bad else ExitCode.OK)


COMMANDS = {"doctor": doctor}
