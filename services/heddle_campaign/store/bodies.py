"""Campaigns, cycles, memories and messages as bytes: what of a row no statement asks for.

JSON by the names of the fields, for a row lives for years: a field that is new is read as its default, and one that
is gone is passed over. So a field of theirs is never renamed, and a new one has a default.
"""

from dataclasses import replace
from functools import cache
from typing import Any

from pydantic import ConfigDict, TypeAdapter

from heddle_campaign.rules.campaigns import Campaign
from heddle_campaign.rules.cycles import Cycle, CycleTurn
from heddle_campaign.rules.learned import Learned, PeerMessage


def campaign_body(campaign: Campaign) -> bytes:
    """A campaign as JSON bytes."""
    return _adapter(Campaign).dump_json(campaign)


def campaign_of(body: bytes) -> Campaign:
    """A campaign from its bytes. Raises pydantic.ValidationError."""
    return _adapter(Campaign).validate_json(body)


def cycle_body(cycle: Cycle) -> bytes:
    """A cycle as JSON bytes, without the requests that are prepared for its turns.

    One that has ended is kept without its settings: a retry goes by those that its campaign has then.
    """
    kept = replace(cycle, settings=None) if cycle.state.terminal else cycle
    return _adapter(Cycle).dump_json(_with_prepared(kept, (b"",) * len(kept.turns)))


def prepared_body(cycle: Cycle) -> bytes | None:
    """The requests that are prepared for the turns of a cycle; None where there are none, or it has ended.

    Nobody sends them again then: a retry prepares them anew.
    """
    if cycle.state.terminal or not any(turn.prepared for turn in cycle.turns):
        return None
    return _prepared().dump_json(tuple(turn.prepared for turn in cycle.turns))


def cycle_of(body: bytes, prepared: bytes | None) -> Cycle:
    """A cycle from its bytes. Raises pydantic.ValidationError."""
    cycle: Cycle = _adapter(Cycle).validate_json(body)
    return cycle if prepared is None else _with_prepared(cycle, _prepared().validate_json(prepared))


def learned_body(learned: Learned) -> bytes:
    """A memory as JSON bytes."""
    return _adapter(Learned).dump_json(learned)


def learned_of(body: bytes) -> Learned:
    """A memory from its bytes. Raises pydantic.ValidationError."""
    return _adapter(Learned).validate_json(body)


def message_body(message: PeerMessage) -> bytes:
    """A message as JSON bytes."""
    return _adapter(PeerMessage).dump_json(message)


def message_of(body: bytes) -> PeerMessage:
    """A message from its bytes. Raises pydantic.ValidationError."""
    return _adapter(PeerMessage).validate_json(body)


def _with_prepared(cycle: Cycle, prepared: tuple[bytes, ...]) -> Cycle:
    turns: list[CycleTurn] = [
        turn if turn.prepared == each else replace(turn, prepared=each)
        for turn, each in zip(cycle.turns, prepared, strict=True)
    ]
    return replace(cycle, turns=tuple(turns))


@cache
def _adapter(kind: type[Any]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


@cache
def _prepared() -> TypeAdapter[tuple[bytes, ...]]:
    return TypeAdapter(tuple[bytes, ...], config=ConfigDict(ser_json_bytes="base64", val_json_bytes="base64"))
