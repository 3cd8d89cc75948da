"""Radiographs that all tests of mining share: they are only read."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.train.drawn_radiographs import draw_folder


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The table of twelve drawn radiographs, ids 0 to 11, 160 x 120."""
    return draw_folder(tmp_path_factory.mktemp("drawn"), count=12)
