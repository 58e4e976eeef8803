"""A service beside the runtime is started with a file of keys that it cannot use: its operator is told what to mend."""

from pathlib import Path

import pytest

from heddle_core.errors import CannotServe
from heddle_grpc.standalone import IdentitySettings, authenticators_of

NOBODY = '[{"id": "0123456789", "sha256": "' + "0" * 64 + '", "tenant": "", "principal": "x"}]'


def test_a_file_that_is_not_there_is_named_with_its_setting(tmp_path: Path) -> None:
    with pytest.raises(CannotServe, match=r"identity\.api_keys_file.*keys\.json.*check the path"):
        authenticators_of(IdentitySettings(api_keys_file=tmp_path / "keys.json"), ())


@pytest.mark.parametrize("text", ["", '["misplaced"]', '[{"id": "misplaced secret"}]', NOBODY])
def test_a_file_that_holds_something_else_is_refused_with_a_remedy(tmp_path: Path, text: str) -> None:
    path = tmp_path / "keys.json"
    path.write_text(text)
    with pytest.raises(CannotServe, match=r"(?s)keys\.json.*mend") as told:
        authenticators_of(IdentitySettings(api_keys_file=path), ())
    assert "misplaced" not in str(told.value)
