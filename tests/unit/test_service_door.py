"""The way into the runtime is set whole, or the service does not start; and what gets in is never told."""

from pathlib import Path
from typing import Any

import pytest

from heddle_core.clock import SystemClock
from heddle_core.errors import CannotServe
from heddle_service.door import DoorSettings, RuntimeDoor

FAR = "runtime.internal:7233"


async def opened(**given: Any) -> None:
    await RuntimeDoor(DoorSettings.model_validate(given), SystemClock()).close()


@pytest.fixture
def token(tmp_path: Path) -> Path:
    file = tmp_path / "token"
    file.write_text("hdl_abc_secret\n")
    return file


async def test_what_is_set_whole_is_taken(token: Path) -> None:
    await opened()
    await opened(address=FAR)
    await opened(token="secret\n")
    await opened(token_file=token)
    await opened(address=FAR, token_file=token, tls=True)
    await opened(address=f"dns:///{FAR}", token_file=token, allow_plaintext=True)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"token": "secret", "token_file": "TOKEN"}, "runtime.token and runtime.token_file.*both are set.*set one"),
        ({"token": ""}, "runtime.token cannot be served.*does not hold one token"),
        ({"token": "Bearer secret"}, "runtime.token cannot be served.*without `Bearer`"),
        ({"token_file": "/nowhere/token"}, "runtime.token_file.*/nowhere/token: No such file.*check the path"),
        ({"address": FAR, "token": "secret"}, "its token would travel in plaintext.*set tls"),
        ({"address": FAR, "token_file": "TOKEN"}, "its token would travel in plaintext.*set tls"),
        ({"address": "runtime", "token": "secret"}, "it has no host and port"),
        ({"certificate": "TOKEN"}, "runtime.certificate and runtime.key.*belong together.*set both"),
        ({"key": "TOKEN", "tls": True}, "runtime.certificate and runtime.key.*belong together.*set both"),
        ({"ca": "/nowhere/ca"}, "/nowhere/ca.*No such file.*check the path"),
        ({"certificate": "/nowhere/crt", "key": "TOKEN"}, "/nowhere/crt.*No such file.*check the path"),
    ],
)
async def test_what_is_set_by_half_stops_the_start(token: Path, given: dict[str, Any], told: str) -> None:
    given = {name: token if value == "TOKEN" else value for name, value in given.items()}
    with pytest.raises(CannotServe, match=told) as raised:
        await opened(**given)
    assert "secret" not in str(raised.value)


def test_the_token_is_not_shown_with_the_settings() -> None:
    given = DoorSettings.model_validate({"token": "secret"})
    assert "secret" not in f"{given!r} {given.model_dump_json()}"
