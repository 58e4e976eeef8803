"""Threads, runs, inputs, agents and tools as lists and sheets."""

from collections.abc import Iterable

from rich.console import RenderableType

from heddle.runtime.v1.agent_pb2 import Agent, ApprovalPolicy, Model, OfferedTool, ToolProvider
from heddle.runtime.v1.input_pb2 import InputRequest
from heddle.runtime.v1.run_pb2 import Run
from heddle.runtime.v1.thread_pb2 import Thread
from heddle.tools.v1.tool_pb2 import RiskClass
from heddle_cli.display import names
from heddle_cli.display.tables import sheet, table
from heddle_cli.display.times import spent, took, when
from heddle_client.transcript_lines import text_of


def thread_list(threads: Iterable[Thread]) -> RenderableType:
    """Threads, one a line."""
    rows = (
        (
            each.thread_id,
            names.thread_activity(each.activity),
            str(each.last_sequence),
            when(each.update_time),
            ("* " if each.settings.pinned else "") + (each.settings.title or "(no title)"),
        )
        for each in threads
    )
    empty = "No threads yet: `heddle chat` or `heddle run TEXT` begins one."
    return table(("id", "activity", "facts", "changed", "title"), rows, empty=empty)


def thread_sheet(thread: Thread) -> RenderableType:
    """One thread."""
    settings = thread.settings
    return sheet(
        (
            ("thread", thread.thread_id),
            ("title", settings.title),
            ("state", f"{names.thread_state(thread.state)}, {names.thread_activity(thread.activity)}"),
            ("pinned", "yes" if settings.pinned else ""),
            ("agent", settings.agent_id),
            ("model", settings.model),
            ("labels", _labels(settings.labels.items())),
            ("facts", f"{thread.first_sequence} to {thread.last_sequence}"),
            ("active run", thread.active_run_id),
            ("forked from", thread.forked_from_thread_id),
            ("created", when(thread.create_time)),
            ("changed", when(thread.update_time)),
        )
    )


def run_list(runs: Iterable[Run]) -> RenderableType:
    """Runs, one a line."""
    rows = (
        (
            each.run_id,
            names.run_state(each.state),
            each.thread_id,
            each.agent.agent_id,
            each.model,
            when(each.create_time),
            took(each.start_time, each.end_time),
        )
        for each in runs
    )
    columns = ("run", "state", "thread", "agent", "model", "asked", "took")
    return table(columns, rows, empty="No runs fit: `heddle run TEXT` starts one.")


def run_sheet(run: Run) -> RenderableType:
    """One run."""
    failure = ""
    if run.HasField("failure"):
        failure = f"{names.failure_reason(run.failure.reason)}: {run.failure.message}"
    return sheet(
        (
            ("run", run.run_id),
            ("thread", run.thread_id),
            ("state", names.run_state(run.state)),
            ("attempt", str(run.attempt)),
            ("agent", f"{run.agent.agent_id} version {run.agent.version}"),
            ("model", run.model),
            ("asked by", run.actor.principal + (f" (by {run.actor.acted_by})" if run.actor.acted_by else "")),
            ("asked", when(run.create_time)),
            ("took", took(run.start_time, run.end_time)),
            ("used", spent(run.usage)),
            ("labels", _labels(run.labels.items())),
            ("parent", run.parent_run_id),
            ("retry of", run.retry_of_run_id),
            ("superseded by", run.superseded_by_run_id),
            ("cancelled", names.cancel_cause(run.cancel_cause) if run.cancel_cause else ""),
            ("failure", failure),
            ("answer", run.result.structured_json or text_of(run.result.parts)),
        )
    )


def input_list(inputs: Iterable[InputRequest]) -> RenderableType:
    """Inputs, one a line."""
    rows = (
        (
            each.input_id,
            names.input_kind(each.kind),
            each.thread_id,
            each.tool,
            when(each.expire_time),
            each.prompt or each.arguments_json,
        )
        for each in inputs
    )
    return table(("input", "kind", "thread", "tool", "expires", "what"), rows, empty="Nothing is asked.")


def agent_list(agents: Iterable[Agent]) -> RenderableType:
    """Agents, one a line."""
    rows = (
        (
            each.agent_id,
            "built in" if each.built_in else str(each.version),
            each.spec.model or "(default)",
            ", ".join(each.spec.tools),
            each.spec.description,
        )
        for each in agents
    )
    return table(("id", "version", "model", "tools", "what for"), rows, empty="No agents.")


def agent_sheet(agent: Agent) -> RenderableType:
    """One agent."""
    spec = agent.spec
    return sheet(
        (
            ("agent", agent.agent_id),
            ("version", str(agent.version) + (", built in" if agent.built_in else "")),
            ("archived", "yes" if agent.archived else ""),
            ("name", spec.display_name),
            ("what for", spec.description),
            ("model", spec.model or "(default)"),
            ("tools", ", ".join(spec.tools)),
            ("approval", _policy(spec.approval_policy)),
            ("instructions", spec.instructions),
        )
    )


def model_list(models: Iterable[Model]) -> RenderableType:
    """Models, one a line, with the reason why they can be used or not."""
    rows = (
        (
            ("* " if each.is_default else "  ") + each.model,
            "yes" if each.available else "no",
            str(each.context_window or "-"),
            each.note,
        )
        for each in models
    )
    return table(("  model", "usable", "window", "why"), rows, empty="No models.")


def provider_list(providers: Iterable[ToolProvider]) -> RenderableType:
    """Tool providers, one a line."""
    rows = (
        (
            each.provider_id,
            "built in" if each.built_in else each.grpc_target,
            "yes" if each.available else "no",
            each.problem,
        )
        for each in providers
    )
    return table(("id", "where", "usable", "problem"), rows, empty="No tool providers.")


def tool_list(tools: Iterable[OfferedTool]) -> RenderableType:
    """Tools, one a line."""
    rows = (
        (
            f"{each.provider_id}/{each.tool.name}",
            RiskClass.Name(each.tool.risk).removeprefix("RISK_CLASS_").lower(),
            each.tool.description,
        )
        for each in tools
    )
    return table(("id", "risk", "what for"), rows, empty="No tools.")


def _policy(value: ApprovalPolicy.ValueType) -> str:
    said = value or ApprovalPolicy.APPROVAL_POLICY_BY_TOOL
    return ApprovalPolicy.Name(said).removeprefix("APPROVAL_POLICY_").lower().replace("_", " ")


def _labels(items: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{key}={value}" for key, value in items)
