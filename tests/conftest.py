"""Fixtures that all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"):
    os.environ.setdefault(_variable, "1")  # read by the workers of pytest-xdist: they share the cores, one each


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Return the folder that holds rsna/radiographs.csv, or skip the test if there is none."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("BONEAGE_DATA", default))
    if not (folder / "rsna" / "radiographs.csv").exists():
        pytest.skip("the radiographs are not here: set BONEAGE_DATA to the folder that holds rsna/")
    return folder
