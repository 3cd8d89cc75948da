"""Programs that tests start or load: those that may be missing, and files outside of the package."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import NoReturn

import pytest


def skip_without(reason: str) -> NoReturn:
    """Skip a test whose program is missing; where CI is true, fail: else nobody would notice."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason} (CI is true: not skipped)")
    pytest.skip(reason)


def load_program(path: str) -> ModuleType:
    """Return the module of a program of this project outside of the package, such as ``tools/language.py``."""
    name = path.removesuffix(".py").replace("/", "_")
    spec = importlib.util.spec_from_file_location(name, Path(__file__).parents[1] / path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look for their annotations
    spec.loader.exec_module(module)
    return module
