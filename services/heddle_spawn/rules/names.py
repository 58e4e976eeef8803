"""Ids that are derived, so that whoever repeats a step after a crash means the same thing. Pure."""

from uuid import UUID, uuid5

_SPACE = UUID("6f0b7b5e-3d9c-5f0e-9a51-7c2f2c1f5d11")


def spawn_id(tenant: str, family: str, spawn_key: str) -> str:
    """One child for each key of a family, for ever (promise P16)."""
    return f"spn_{_name(tenant, 'spawn', family, spawn_key)}"


def group_id(tenant: str, family: str, group_key: str) -> str:
    """One group for each key of a family."""
    return f"spg_{_name(tenant, 'group', family, group_key)}"


def turn_request_id(tenant: str, family: str, spawn_key: str, attempt: int = 1) -> str:
    """The request id of a child's StartTurn: sent again, it finds the same run."""
    return f"spt_{_name(tenant, 'turn', family, spawn_key, str(attempt))}"


def request_id(of: str, what: str) -> str:
    """The request id of one step of a child or group, as `answer` or `cancel`."""
    return f"spr_{_name(of, what)}"


def call_key(idempotency_key: str) -> str:
    """The spawn key of a tool call: a repeated call names the same child."""
    return f"call-{_name('call', idempotency_key)}"


def _name(*parts: str) -> str:
    return uuid5(_SPACE, "\0".join(parts)).hex
