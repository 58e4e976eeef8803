"""Tells uv what pip was told: where packages come from, and whom to trust on the way.

uv reads neither pip's files nor its variables. Whoever has set up pip for an index of their own should not have to do
it twice, and must not find half of the packages coming from elsewhere.
"""

from __future__ import annotations  # likewise read by a Python that is too old

import ast
import subprocess
from collections.abc import Mapping
from pathlib import Path

# What both can be told. The second word says how uv wants several values to be joined.
_SPOKEN = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "client-cert": ("SSL_CLIENT_CERT", " "),
    "proxy": ("ALL_PROXY", " "),
    "timeout": ("UV_HTTP_TIMEOUT", " "),
    "default-timeout": ("UV_HTTP_TIMEOUT", " "),
    "retries": ("UV_HTTP_RETRIES", " "),
}
# What changes how pip talks or where it caches, and not what it installs.
_HARMLESS = {
    "break-system-packages",
    "cache-dir",
    "disable-pip-version-check",
    "log",
    "no-cache-dir",
    "no-color",
    "no-input",
    "no-warn-script-location",
    "progress-bar",
    "quiet",
    "require-virtualenv",
    "root-user-action",
    "verbose",
}
_SOURCES = ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_FIND_LINKS")


class NotForUv(Exception):
    """pip is set up in a way that uv cannot be told; the text names the setting."""


def pip_settings(python: Path) -> dict[str, str]:
    """What `python -m pip install` would go by; environment before files, `install` before `global`."""
    command = [str(python), "-m", "pip", "config", "list"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return parse(listed)


def parse(listed: str) -> dict[str, str]:
    """The settings in the output of `pip config list`."""
    found: dict[str, str] = {}
    ranks: dict[str, int] = {}
    order = ("global.", "install.", ":env:.")
    for line in listed.splitlines():
        key, _, quoted = line.partition("=")
        rank = next((number for number, start in enumerate(order) if key.startswith(start)), None)
        if rank is None:
            continue
        name = key.removeprefix(order[rank])
        if rank >= ranks.get(name, 0):
            found[name], ranks[name] = str(ast.literal_eval(quoted)), rank
    return found


def for_uv(settings: Mapping[str, str]) -> dict[str, str]:
    """The variables that make uv go by `settings`. Raises NotForUv where it cannot."""
    told: dict[str, str] = {}
    for name, value in sorted(settings.items()):
        if name in _HARMLESS:
            continue
        if name not in _SPOKEN or "****" in value:  # pip hides passwords in what it lists
            raise NotForUv(name)
        variable, joint = _SPOKEN[name]
        told[variable] = joint.join(value.split())
    if any(source in told for source in _SOURCES):
        # pip takes the best version that any source has; uv would stop at the first source that has the name.
        told["UV_INDEX_STRATEGY"] = "unsafe-best-match"
        told["UV_NO_CONFIG"] = "1"
    return told
