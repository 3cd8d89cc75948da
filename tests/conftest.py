"""Fixtures that all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"):
    os.environ.setdefault(_variable, "1")  # read by the workers of pytest-xdist, which share the cores

_LONG = (
    "tests/docs/test_tutorials.py",
    "tests/web/browser/",
    "tests/web/processes/",
    "tests/web/api/test_schema.py",
    "tests/web/api/test_examples.py",
    "tests/web/node/test_end_to_end.py",
    "tests/train/",
    "tests/archive/",
    "tests/node/",
    "tests/reading/test_walk_formats.py",
)
"""Files and folders of tests that take long. They begin first, so that no worker is left with one at the end."""


def pytest_configure(config: pytest.Config) -> None:
    """Let pytest-xdist keep the order of the files. Its own order begins with those of the most tests."""
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long files first."""
    items.sort(key=lambda item: not item.nodeid.startswith(_LONG))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Start three workers for two cores: tests of real servers and browsers wait for a third of their time."""
    cores = os.cpu_count() or 1
    return cores + cores // 2


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Return the folder that holds rsna/radiographs.csv, or skip the test if there is none."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("BONEAGE_DATA", default))
    if not (folder / "rsna" / "radiographs.csv").exists():
        pytest.skip("the radiographs are not here: set BONEAGE_DATA to the folder that holds rsna/")
    return folder
