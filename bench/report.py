"""How the figures of run.py are told: a line a round, a table, and the page RESULTS.md. Pure."""

from typing import Any


def progress(number: int, pairs: int, round_: dict[str, Any]) -> str:
    """What one round gave."""
    cells = [
        f"{name} " + " ".join(f"c={clients} {line['per_second']:.0f}/s" for clients, line in each["turns"].items())
        for name, each in round_.items()
    ]
    return f"round {number} of {pairs}: " + "; ".join(cells)


def table(told: dict[str, Any], clients: list[int]) -> str:
    """Medians and ratios as a Markdown table."""
    lines = [
        "| system | c | turns/s | of the ceiling | p50 ms | times | p99 ms | first fact ms | frames"
        " | server us/turn | times | tool us/turn | errors |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name in told["pragmas"]:
        for count in clients:
            line = told["summary"][name][count]
            lines.append(
                f"| {name} | {count} | {line['per_second']:.0f} | {line['per_second_ratio']:.2f} |"
                f" {line['p50_ms']:.1f} | {line['p50_ms_ratio']:.2f} | {line['p99_ms']:.1f} |"
                f" {line['first_p50_ms']:.1f} | {line['frames']:.1f} | {line['server_cpu_us']:.0f} |"
                f" {line['server_cpu_us_ratio']:.2f} | {line['tool_cpu_us']:.0f} | {line['errors']} |"
            )
    return "\n".join([*lines, "", f"A bare unary call at c=1: p50 {told['summary']['unary_p50_ms']:.2f} ms."])


def page(told: dict[str, Any], clients: list[int]) -> str:
    """RESULTS.md."""
    machine = told["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["packages"].items())
    pragmas = "\n".join(
        f"* {name}: " + ", ".join(f"{key} = {value}" for key, value in each.items())
        for name, each in told["pragmas"].items()
    )
    goals = "\n".join(_goals(told, clients))
    spread = "\n".join(_spread(told, clients))
    problems = "\n".join(_problems(told, clients)) or "None: every turn was whole."
    return f"""# Reference turns: Heddle beside the ceiling

Written by `{told["command"]}`, which began at {told["began"]}. Figures of another machine or another day cannot be
compared; ratios of one run can, where the machine was quiet: look at the load, and at the spread below.

* Machine: {machine["processor"]}, {machine["cores"]} cores, {machine["memory_gib"]} GiB, Linux {machine["kernel"]}.
  Load {_load(machine["load"])} before, {_load(machine["load_after"])} after; {machine["stolen"]:.1%} of the
  processors' time since its start went to other machines.
* Versions: Python {machine["python"]}, SQLite {machine["sqlite"]}, {versions}; Heddle at {machine["commit"]}.
* {told["pairs"]} rounds, each system in turn in every round, {told["seconds"]:g} s a loop behind a warm-up; the
  ceiling on {told["ceiling_loop"]}, all clients on uvloop in a process of their own.
* A turn: a user's message; the model asks for one tool; the tool answers; the model streams 20 pieces; end. The model
  takes no time. Facts and words of every turn are checked when the clock has stopped.

## Medians, and medians of the ratios round by round

{table(told, clients)}

`tool grpc` sends the call to a ToolService in another process; `tool built-in` keeps it inside the runtime. The
ceiling has no tool at all.

## Goals

{goals}

## Turns per second as a part of the ceiling's, round by round

{spread}

## Errors

{problems}

## The databases, read back

{pragmas}

synchronous = 2 is FULL: the write-ahead log is synced at every commit.
"""


def _goals(told: dict[str, Any], clients: list[int]) -> list[str]:
    lines: list[str] = []
    for name in (each for each in told["pragmas"] if not each.startswith("ceiling")):
        found = told["summary"][name]
        if 64 in clients:
            lines.append(
                _goal(name, "c=64, turns/s at least 0.6 of the ceiling", found[64]["per_second_ratio"], 0.6, 1)
            )
        if 1 in clients:
            lines.append(_goal(name, "c=1, p50 at most 2 times the ceiling", found[1]["p50_ms_ratio"], 2.0, -1))
            first = found[1]["first_p50_ms"] / max(told["summary"]["unary_p50_ms"], 1e-9)
            lines.append(_goal(name, "c=1, first fact at most 3 bare unary calls", first, 3.0, -1))
    return lines


def _goal(name: str, words: str, value: float, wanted: float, sign: int) -> str:
    met = "met" if (value - wanted) * sign >= 0 else "**missed**"
    return f"* {name}: {words}: {value:.2f}, {met}."


def _spread(told: dict[str, Any], clients: list[int]) -> list[str]:
    return [
        f"* {name}, c={count}: " + ", ".join(f"{each:.2f}" for each in found["per_second_ratios"])
        for name in told["pragmas"]
        if name != "ceiling"
        for count in clients
        for found in (told["summary"][name][count],)
    ]


def _problems(told: dict[str, Any], clients: list[int]) -> list[str]:
    return [
        f"* {name}, c={count}: {found['errors']}, as: {'; '.join(found['problems'])}"
        for name in told["pragmas"]
        for count in clients
        for found in (told["summary"][name][count],)
        if found["errors"]
    ]


def _load(load: Any) -> str:
    return " ".join(f"{each:.1f}" for each in load)
