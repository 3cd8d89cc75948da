"""Films in every format, as benchmarks/fuzz_radiograph.py stores them."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any


def _load_benchmark() -> Any:
    path = Path(__file__).resolve().parents[1] / "benchmarks" / "fuzz_radiograph.py"
    spec = importlib.util.spec_from_file_location("fuzz_radiograph", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz_radiograph"] = module
    spec.loader.exec_module(module)
    return module


fuzz = _load_benchmark()
VALID: dict[str, bytes] = fuzz.valid_files()
