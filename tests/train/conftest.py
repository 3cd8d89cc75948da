"""Ten small phantoms, their masks and key points, and a tiny recipe."""

from __future__ import annotations

from pathlib import Path

import pytest

from boneage.tables.radiographs import LabelledRadiograph, read_radiographs
from tests.train.drawn_radiographs import TINY, draw_folder
from tests.train.drawn_targets import draw_targets

SIDE = 96
"""Longer side of the phantoms, pixels; the other is 72."""


@pytest.fixture(scope="session")
def radiographs(tmp_path_factory: pytest.TempPathFactory) -> list[LabelledRadiograph]:
    table = draw_folder(tmp_path_factory.mktemp("phantoms"), count=10, side=SIDE)
    return read_radiographs(table, table.parent / "radiographs")


@pytest.fixture(scope="session")
def targets(radiographs: list[LabelledRadiograph], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return draw_targets(radiographs, tmp_path_factory.mktemp("targets"))


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    (tmp_path / "tiny.toml").write_text(TINY, encoding="utf-8")
    return tmp_path / "tiny.toml"
