"""The child process: llama.cpp's OpenAI-compatible server on a free port of loopback.

Started as `python serve.py`, by path, so that it imports nothing of Heddle. It reads one line of JSON, its
settings, from standard input; prints one line of JSON, its address, on standard output; and lives until standard
input ends, which happens when its parent closes it or dies in any way, even by kill -9.
"""

import importlib
import json
import os
import sys
from typing import Any


def main() -> None:
    """Load the weights, serve, and leave with the parent."""
    settings: dict[str, Any] = json.loads(sys.stdin.readline())
    # The native library prints on standard output, which belongs to the parent: give it standard error.
    told = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    engine: Any = importlib.import_module("xllamacpp")
    parameters = engine.CommonParams()
    parameters.model.path = settings["weights"]
    parameters.model_alias = {settings["name"]}
    parameters.n_ctx = settings["context_window"]
    parameters.n_parallel = settings["parallel"]
    parameters.kv_unified = True
    parameters.cpuparams.n_threads = settings["threads"]
    parameters.cpuparams.poll = 0
    # Each slot keeps its last prompt. A cache of all of them would cost memory, and saves a tiny model no time.
    parameters.cache_ram_mib = 0
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = 0
    parameters.api_keys = [settings["key"]]
    parameters.ui = False
    parameters.offline = True
    parameters.verbosity = -1
    server = engine.Server(parameters)
    print(json.dumps({"address": server.listening_address}), file=told, flush=True)
    while sys.stdin.readline():
        pass
    # Not sys.exit: the native threads may be in the middle of a token, and nobody waits for it any more.
    os._exit(0)


if __name__ == "__main__":
    main()
