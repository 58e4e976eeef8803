"""Which of Heddle's programs a fork of the zygote is: the runtime by itself, or one that `heddle` serves."""

import importlib
import os
import sys
from collections.abc import Mapping

VARIABLE = "HEDDLE_PROGRAM"
"""The words behind `heddle`, as `serve spawn`; where it is not set, it is `python -m heddle_runtime`."""

UP, SERVE_RUNTIME, SERVE_SPAWN = "up --print-address", "serve runtime", "serve spawn"

_IMPORTED = {
    UP: ("heddle_cli.serving", "heddle_runtime.wiring.runtime", "heddle_spawn.wiring", "heddle_campaign.wiring"),
    SERVE_RUNTIME: ("heddle_cli.serving", "heddle_runtime.wiring.runtime"),
    SERVE_SPAWN: ("heddle_spawn.__main__",),
}


def preload(environment: Mapping[str, str]) -> None:
    """Import what the program of an environment imports: once, in the zygote, and not in each of its forks."""
    for module in _IMPORTED.get(environment.get(VARIABLE, ""), ()):
        importlib.import_module(module)


def be(environment: Mapping[str, str]) -> int:
    """Be the program of an environment until it ends; its exit code."""
    words = environment.get(VARIABLE, "")
    if not words:
        from heddle_runtime.__main__ import main as serve

        return serve()
    from heddle_cli.__main__ import main
    from heddle_core import failpoints

    failpoints.arm(os.environ.get(failpoints.VARIABLE, ""))  # `heddle up` itself does not look for any
    sys.argv = ["heddle", *words.split()]
    try:
        main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else 1
    return 0
