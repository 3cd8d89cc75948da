"""Fixtures that all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Return the folder that holds rsna/radiographs.csv, or skip the test if there is none."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("BONEAGE_DATA", default))
    if not (folder / "rsna" / "radiographs.csv").exists():
        pytest.skip("the radiographs are not here: set BONEAGE_DATA to the folder that holds rsna/")
    return folder
