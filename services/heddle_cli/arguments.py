"""Reads what stands on the command line or in a file, and refuses what does not fit, as wrong usage."""

import json
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import typer


def labels(given: Sequence[str]) -> dict[str, str]:
    """`KEY=VALUE` each."""
    found: dict[str, str] = {}
    for each in given:
        key, equals, value = each.partition("=")
        if not equals or not key:
            raise typer.BadParameter(f"{each!r} is not KEY=VALUE", param_hint="--label")
        found[key] = value
    return found


def text(path: str) -> str:
    """The text of a file; of stdin for `-`."""
    if path == "-":
        return sys.stdin.read()
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{path} cannot be read: {error}") from error


def json_text(path: str) -> str:
    """The text of a file that holds one JSON value; of stdin for `-`."""
    found = text(path)
    try:
        json.loads(found)
    except ValueError as error:
        raise typer.BadParameter(f"{path} is not JSON: {error}") from error
    return found.strip()


def time(given: str) -> datetime:
    """An ISO 8601 date or time; UTC when it names no zone."""
    try:
        found = datetime.fromisoformat(given)
    except ValueError as error:
        raise typer.BadParameter(f"{given!r} is not a date or time as 2026-11-23 or 2026-11-23T08:00:00Z") from error
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)
