"""`heddle spawn`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from heddle.spawn.v1alpha1.spawn_service_pb2_grpc import SpawnServiceStub
    from heddle_cli.session import Session


def tree(
    context: typer.Context,
    run_id: Annotated[str, typer.Argument(metavar="RUN", help="Any run of the tree.")],
    depth: Annotated[int, typer.Option("--depth", min=0, max=16, help="Most levels; 0 for all.")] = 0,
) -> None:
    """Show a run with everything that was delegated below it, and what all of it used."""
    from heddle.spawn.v1alpha1.spawn_service_pb2 import GetSpawnTreeRequest
    from heddle_cli.display.spawns import spawn_tree
    from heddle_cli.session import Session, perform

    async def show(session: Session) -> None:
        found = await _spawns(session).GetSpawnTree(GetSpawnTreeRequest(run_id=run_id, max_depth=depth))
        session.screen.result(found, lambda: spawn_tree(found))

    perform(context, show)


def watch(
    context: typer.Context,
    target: Annotated[str, typer.Argument(metavar="SPAWN|GROUP", help="A child, or a group of children.")],
) -> None:
    """Follow a child or a group until it has ended. With --json, each change is one line."""
    from heddle.spawn.v1alpha1.spawn_service_pb2 import WatchSpawnRequest
    from heddle_cli.display.screen import as_json
    from heddle_cli.display.spawns import standing_line
    from heddle_cli.session import Session, perform

    async def follow(session: Session) -> None:
        last = ""
        async for frame in _spawns(session).WatchSpawn(WatchSpawnRequest(**_target(target))):
            if session.screen.machine:
                session.screen.data_line(as_json(frame))
                continue
            line = standing_line(frame)
            if line != last:
                session.screen.say(line)
            last = line

    perform(context, follow)


def cancel(
    context: typer.Context,
    target: Annotated[str, typer.Argument(metavar="SPAWN|GROUP", help="A child, or a group of children.")],
    note: Annotated[str, typer.Option("--note", help="Why, for people.")] = "",
) -> None:
    """Stop a child or a group; whoever waits for it is told."""
    from heddle.spawn.v1alpha1.spawn_service_pb2 import CancelSpawnRequest
    from heddle_cli.display.spawns import standing_line
    from heddle_cli.session import Session, perform

    async def stop(session: Session) -> None:
        request = CancelSpawnRequest(request_id=session.new_request_id(), note=note, **_target(target))
        answer = await _spawns(session).CancelSpawn(request)
        session.screen.result(answer, lambda: standing_line(answer))

    perform(context, stop)


def _target(target: str) -> dict[str, Any]:
    return {"group_id" if target.startswith("spg_") else "spawn_id": target}


def _spawns(session: "Session") -> "SpawnServiceStub":
    from heddle.spawn.v1alpha1.spawn_service_pb2_grpc import SpawnServiceStub

    return SpawnServiceStub(session.channel)


COMMANDS = {"tree": tree, "watch": watch, "cancel": cancel}
